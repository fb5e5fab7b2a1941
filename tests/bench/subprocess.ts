/**
 * A program that the benchmark started: its process id for the figures from /proc, the end of what
 * it wrote to standard error for the reason when it fails, and an orderly end.
 */

/** What is kept of a program's standard error. */
const KEPT_STDERR_CHARS = 4_000;

/** How long a program may take to end after SIGTERM before it is killed. */
const STOP_TIMEOUT_MS = 8_000;

/** What to start. */
export interface SubprocessOptions {
  /** What the program is called in messages. */
  readonly name: string;
  /** The program and its arguments. */
  readonly command: readonly [program: string, ...args: string[]];
  /** Working directory; the benchmark's own when left out. */
  readonly cwd?: string;
  /** Told each line of standard error as it comes. */
  readonly onStderrLine?: (line: string) => void;
}

/** One running program. Disposing it ends it and waits until it is gone. */
export class Subprocess implements AsyncDisposable {
  readonly name: string;
  /** Process id, as in /proc. */
  readonly pid: number;
  /** Resolves when the program has ended, by itself or not. */
  readonly ended: Promise<Deno.CommandStatus>;

  readonly #child: Deno.ChildProcess;
  readonly #stderrRead: Promise<void>;
  #stderrTail = "";
  #status: Deno.CommandStatus | undefined;

  constructor(options: SubprocessOptions) {
    const [program, ...args] = options.command;
    this.name = options.name;
    this.#child = new Deno.Command(program, {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      env: { NO_COLOR: "1" },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    }).spawn();
    this.pid = this.#child.pid;
    this.ended = this.#child.status.then((status) => this.#status = status);
    this.#stderrRead = this.#readStderr(options.onStderrLine);
  }

  async #readStderr(onLine: ((line: string) => void) | undefined): Promise<void> {
    let partial = "";
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#stderrTail = (this.#stderrTail + text).slice(-KEPT_STDERR_CHARS);
      const lines = (partial + text).split("\n");
      partial = lines.pop() ?? "";
      for (const line of lines) onLine?.(line);
    }
  }

  /** Whether the program still runs. */
  get isRunning(): boolean {
    return this.#status === undefined;
  }

  /** The line of standard error that most likely says why the program ended; "" without any. */
  get lastWords(): string {
    const lines = this.#stderrTail.trim().split("\n").map((line) => line.trim());
    return lines.findLast((line) => /^(error|relay|agent)\b/.test(line)) ?? lines.at(-1) ?? "";
  }

  /** Throws, with the program's last words, if it has ended. */
  async throwIfEnded(): Promise<void> {
    if (this.#status === undefined) return;
    await this.#stderrRead;
    const words = this.lastWords;
    throw new Error(
      `Program ${this.name} ended with exit code ${this.#status.code}${words && `: ${words}`}`,
    );
  }

  /** Sends a signal; a program that has ended already is left alone. */
  signal(signal: Deno.Signal): void {
    if (this.#status !== undefined) return;
    try {
      this.#child.kill(signal);
    } catch (error) {
      // It ended between the check and the signal: what was wanted has happened.
      if (!(error instanceof Deno.errors.NotFound) && !(error instanceof TypeError)) throw error;
    }
  }

  /** Asks the program to end (SIGTERM), kills it when it does not, and returns how it ended. */
  async stop(): Promise<Deno.CommandStatus> {
    this.signal("SIGTERM");
    const timer = setTimeout(() => this.signal("SIGKILL"), STOP_TIMEOUT_MS);
    const status = await this.ended;
    clearTimeout(timer);
    await this.#stderrRead;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** The full path of a program on the PATH, or undefined. */
export function findProgram(name: string): string | undefined {
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    if (folder === "") continue;
    const path = `${folder}/${name}`;
    try {
      const info = Deno.statSync(path);
      if (info.isFile && ((info.mode ?? 0) & 0o111) !== 0) return path;
    } catch (error) {
      const isAbsent = error instanceof Deno.errors.NotFound ||
        error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotADirectory;
      if (!isAbsent) throw error;
    }
  }
  return undefined;
}

/** What a program that ran to its end left behind. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; an aborted `signal` ends it and rejects. */
export async function runToEnd(
  command: readonly [program: string, ...args: string[]],
  signal?: AbortSignal,
): Promise<Output> {
  signal?.throwIfAborted();
  const [program, ...args] = command;
  const output = await new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...(signal === undefined ? {} : { signal }),
  }).output();
  signal?.throwIfAborted();
  const decoder = new TextDecoder();
  return {
    code: output.code,
    stdout: decoder.decode(output.stdout),
    stderr: decoder.decode(output.stderr),
  };
}

/** Runs a program and returns its standard output; throws its last words unless it ends with 0. */
export async function outputOf(
  command: readonly [program: string, ...args: string[]],
  signal?: AbortSignal,
): Promise<string> {
  const { code, stdout, stderr } = await runToEnd(command, signal);
  if (code === 0) return stdout;
  const words = stderr.trim().split("\n").at(-1) ?? "";
  throw new Error(`Program ${command[0]} ended with exit code ${code}: ${words}`);
}
