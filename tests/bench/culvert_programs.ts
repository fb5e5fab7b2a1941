/**
 * relay.ts and agent.ts as the tasks of deno.json run them: same permissions, same flags, so that
 * what is measured is what a user starts.
 */
import { lastOfEach } from "../support/arguments.ts";
import { Subprocess } from "./subprocess.ts";

const ROOT = new URL("../../", import.meta.url);

/** Random bytes in a tunnel token. */
const TOKEN_BYTES = 32;

/** A random tunnel token. */
export function randomToken(): string {
  return crypto.getRandomValues(new Uint8Array(TOKEN_BYTES)).toHex();
}

/** How a program is started. */
export interface TaskOptions {
  /** Told each line of standard error as it comes. */
  readonly onStderrLine?: (line: string) => void;
  /** The checkout that the program comes from; this one unless given. */
  readonly root?: URL;
}

/** Starts the program of a task in deno.json with further arguments. */
export async function startTask(
  task: "relay" | "agent",
  args: readonly string[],
  { onStderrLine, root = ROOT }: TaskOptions = {},
): Promise<Subprocess> {
  const [program, ...flags] = await taskCommand(task, root);
  return new Subprocess({
    name: `${task}.ts`,
    command: [program, ...flags, ...lastOfEach(args)],
    cwd: root.pathname,
    ...(onStderrLine === undefined ? {} : { onStderrLine }),
  });
}

async function taskCommand(task: string, root: URL): Promise<[string, ...string[]]> {
  const config: unknown = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  const command = (config as { tasks: Record<string, { command?: string }> }).tasks[task]?.command;
  const [program, ...flags] = command?.split(" ") ?? [];
  if (program !== "deno") throw new Error(`Task "${task}" of deno.json does not start with "deno"`);
  return [Deno.execPath(), ...flags];
}
