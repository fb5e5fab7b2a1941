/** One of the two programs as a process of its own, for the demo. */

/** How long a program may take until it says what is waited for, in milliseconds. */
const startTimeoutMs = 30_000;

interface LogLine {
  message?: string;
  listener?: string;
  address?: string;
}

/** A running program; disposing of it ends it. */
export class Program implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #lines: LogLine[] = [];
  readonly #rawLines: string[] = [];
  readonly #reading: Promise<void>;
  #hasEnded = false;
  #wake: () => void = () => {};

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#reading = this.#read();
  }

  /** Starts `relay.ts` or `agent.ts` with this very Deno. */
  static start(script: string, args: string[], env: Record<string, string> = {}): Program {
    const path = new URL(`../../${script}`, import.meta.url).pathname;
    const permissions = ["--allow-net", "--allow-read", "--allow-env"];
    const command = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", ...permissions, path, ...args, "--log-format", "json"],
      env,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    });
    return new Program(command.spawn());
  }

  /** The address of a listener, once it is bound. */
  async listening(listener: string): Promise<string> {
    const line = await this.#waitFor((line) =>
      line.message === "Listening" && line.listener === listener
    );
    return line.address!;
  }

  /** Waits for a log message. */
  async logged(message: string): Promise<void> {
    await this.#waitFor((line) => line.message === message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#reading;
    await this.#process.status;
  }

  #stop(): void {
    try {
      this.#process.kill("SIGTERM");
    } catch (error) {
      // Ctrl-C in a terminal reaches this process too, which may have ended by now.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  /** @throws {Error} with the program's last words when it ends or says nothing. */
  async #waitFor(matches: (line: LogLine) => boolean): Promise<LogLine> {
    const deadline = Date.now() + startTimeoutMs;
    for (;;) {
      const found = this.#lines.find(matches);
      if (found) return found;
      if (this.#hasEnded || Date.now() > deadline) {
        throw new Error(`A program did not start:\n${this.#rawLines.slice(-5).join("\n")}`);
      }
      await this.#nextLine(deadline - Date.now());
    }
  }

  async #nextLine(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = setTimeout(resolve, timeoutMs);
    await promise;
    clearTimeout(timer);
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#process.stderr.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#keep(line);
      this.#wake();
    }
    this.#hasEnded = true;
    this.#wake();
  }

  #keep(line: string): void {
    this.#rawLines.push(line);
    if (this.#rawLines.length > 100) this.#rawLines.shift();
    try {
      this.#lines.push(JSON.parse(line));
      if (this.#lines.length > 1000) this.#lines.shift();
    } catch {
      // Not a log line: it is among the raw ones, for the error message.
    }
  }
}
