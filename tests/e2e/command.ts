/**
 * Programs that the tests run as a user would, kubectl and helm: to the end ({@link run}) or for as
 * long as the test likes ({@link LiveCommand}).
 */
import { DeadlineError, eventually, within } from "../support/deadline.ts";

/** Longest that a command may take; a pod's start and a 50 MB copy fit well. */
const COMMAND_TIMEOUT_MS = 60_000;

/** How to run a command. */
export interface CommandOptions {
  /** Environment variables on top of this process's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** What it reads on its standard input, which is then closed; without it there is no input. */
  readonly stdin?: Uint8Array | string;
  readonly timeoutMs?: number;
}

/** What a command left that ended by itself. */
export interface CommandResult {
  readonly code: number;
  /** Standard output as text. */
  readonly stdout: string;
  /** Standard output as it came. */
  readonly stdoutBytes: Uint8Array;
  readonly stderr: string;
}

/**
 * Runs a command to its end, whatever its exit code.
 *
 * @throws {DeadlineError} if it does not end in time; it is killed then
 */
export async function run(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = new Deno.Command(program, {
    args: [...args],
    env: { ...options.env },
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const fed = options.stdin === undefined ? undefined : feed(child.stdin, options.stdin);
  const output = child.output();
  const what = `"${program} ${args.join(" ")}" to end`;
  try {
    await within(output, what, options.timeoutMs ?? COMMAND_TIMEOUT_MS);
  } catch (error) {
    if (error instanceof DeadlineError) child.kill("SIGKILL");
    throw error;
  } finally {
    await fed;
    await output;
  }
  const { code, stdout, stderr } = await output;
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stdoutBytes: stdout,
    stderr: decoder.decode(stderr),
  };
}

async function feed(stdin: WritableStream<Uint8Array>, input: Uint8Array | string): Promise<void> {
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  const writer = stdin.getWriter();
  try {
    await writer.write(bytes);
    await writer.close();
  } catch (error) {
    // A command may end without reading all; its exit code and output are what the test looks at.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** A line of a command's standard output, and when it came. */
export interface OutputLine {
  readonly text: string;
  /** Milliseconds since the epoch. */
  readonly arrivedAt: number;
}

/** A command that goes on while the test looks at its output; disposing it kills it. */
export class LiveCommand implements AsyncDisposable {
  /** Standard output so far; without what follows the last line feed. */
  readonly lines: OutputLine[] = [];

  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #finished: Promise<number>;
  #stderr = "";
  #exitCode: number | undefined;

  private constructor(name: string, child: Deno.ChildProcess) {
    this.#name = name;
    this.#child = child;
    this.#stdin = child.stdin.getWriter();
    this.#finished = this.#follow();
  }

  /** Starts a command whose standard input stays open. */
  static start(
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): LiveCommand {
    const child = new Deno.Command(program, {
      args: [...args],
      env: { ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    return new LiveCommand(`${program} ${args.join(" ")}`, child);
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Writes to the command's standard input. */
  async write(text: string): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode(text));
  }

  /** The first line, there already or still to come, that `accepts` takes. */
  async waitForLine(accepts: (text: string) => boolean, timeoutMs?: number): Promise<OutputLine> {
    let found: OutputLine | undefined;
    const look = () => {
      found = this.lines.find((line) => accepts(line.text));
      if (!found && this.#exitCode !== undefined) throw this.#failure("ended before that line");
      return found !== undefined;
    };
    await eventually(look, () => this.#failure("to print that line").message, timeoutMs);
    return found!;
  }

  /** The first `count` lines, awaited if they are not all there. */
  async waitForLines(count: number, timeoutMs?: number): Promise<readonly OutputLine[]> {
    const look = () => {
      const isThere = this.lines.length >= count;
      if (!isThere && this.#exitCode !== undefined) throw this.#failure(`ended before ${count}`);
      return isThere;
    };
    const what = () => this.#failure(`to print ${count} lines`).message;
    await eventually(look, what, timeoutMs);
    return this.lines.slice(0, count);
  }

  /** Waits for the command to end by itself, and returns its exit code. */
  async ended(timeoutMs?: number): Promise<number> {
    return await within(this.#finished, () => this.#failure("to end").message, timeoutMs);
  }

  /** Ends the command at once, as a crash or a closed terminal would. */
  async kill(): Promise<void> {
    if (this.#exitCode === undefined) this.#child.kill("SIGKILL");
    await this.#finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    // The pipe's other end has gone, so closing may fail: there is nothing left to be written.
    await this.#stdin.close().catch(() => {});
  }

  async #follow(): Promise<number> {
    const [status] = await Promise.all([
      this.#child.status,
      this.#collectLines(),
      this.#collectErrors(),
    ]);
    this.#exitCode = status.code;
    return status.code;
  }

  async #collectLines(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const arrivedAt = Date.now();
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.lines.push(...lines.map((line) => ({ text: line, arrivedAt })));
    }
  }

  async #collectErrors(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#stderr += text;
    }
  }

  #failure(state: string): Error {
    const printed = this.lines.map((line) => `  ${line.text}`).join("\n");
    return new Error(`"${this.#name}" ${state}; it printed:\n${printed}\n${this.#stderr}`);
  }
}
