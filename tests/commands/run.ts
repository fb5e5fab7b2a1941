/** Runs the relay's commands as a user does, and kubectl. */
import { deepEqual, equal } from "node:assert/strict";
import { parse } from "yaml";
import { within } from "../support/deadline.ts";

const timeoutMs = 60_000;
const repositoryRoot = new URL("../../", import.meta.url);

/** What a program that ended left. */
export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to run a program. */
export interface RunOptions {
  /** On its standard input; nothing unless given. */
  readonly stdin?: string | undefined;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program to its end. */
export async function run(
  program: string,
  args: readonly string[],
  { stdin = "", env = {} }: RunOptions = {},
): Promise<Result> {
  const child = new Deno.Command(program, {
    args: [...args],
    cwd: repositoryRoot,
    env: { NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  try {
    // One that doesn't read its input may have ended before it is written.
    const input = new Blob([stdin]).stream().pipeTo(child.stdin).catch(ignoreBrokenPipe);
    const { code, stdout, stderr } = await within(output, `${program} to end`, timeoutMs);
    await input;
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    child.kill("SIGKILL");
    await output;
    throw error;
  }
}

function ignoreBrokenPipe(error: unknown): void {
  if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
}

/** Runs `relay.ts` with a command and what follows it. */
export async function relay(args: readonly string[], stdin?: string): Promise<Result> {
  return await run(Deno.execPath(), ["run", "-A", "relay.ts", ...args], { stdin });
}

/** What a command prints, which must go well and without a word on standard error. */
export async function printed(args: readonly string[], stdin?: string): Promise<string> {
  const { code, stdout, stderr } = await relay(args, stdin);
  deepEqual({ code, stderr }, { code: 0, stderr: "" });
  return stdout;
}

/** The one line with which a command refuses what it was given. */
export async function refusal(args: readonly string[], stdin?: string): Promise<string> {
  const { code, stdout, stderr } = await relay(args, stdin);
  deepEqual({ code, stdout }, { code: 2, stdout: "" });
  const [line = "", ...more] = stderr.trimEnd().split("\n");
  deepEqual(more, []);
  equal(line.slice(0, 7), "relay: ");
  return line.slice(7);
}

/** A document of YAML as clients of Kubernetes read it: by YAML 1.1. */
export function fromYaml<Value>(text: string): Value {
  return parse(text, { version: "1.1", strict: true }) as Value;
}

/** Whether kubectl is there; without it, what it makes of a command's output is not looked at. */
export const hasKubectl = await canRun("kubectl", "version", "--client");

if (!hasKubectl) console.error("SKIPPED: what kubectl makes of the commands' output needs kubectl");

async function canRun(program: string, ...args: string[]): Promise<boolean> {
  try {
    return (await run(program, args)).code === 0;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return false;
  }
}
