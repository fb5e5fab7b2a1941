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

/** Starts the program of a task in deno.json with further arguments. */
export async function startTask(
  task: "relay" | "agent",
  args: readonly string[],
  onStderrLine?: (line: string) => void,
): Promise<Subprocess> {
  const [program, ...flags] = await taskCommand(task);
  return new Subprocess({
    name: `${task}.ts`,
    command: [program, ...flags, ...lastOfEach(args)],
    cwd: ROOT.pathname,
    ...(onStderrLine === undefined ? {} : { onStderrLine }),
  });
}

async function taskCommand(task: string): Promise<[string, ...string[]]> {
  const config: unknown = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const command = (config as { tasks: Record<string, { command?: string }> }).tasks[task]?.command;
  const [program, ...flags] = command?.split(" ") ?? [];
  if (program !== "deno") throw new Error(`Task "${task}" of deno.json does not start with "deno"`);
  return [Deno.execPath(), ...flags];
}
