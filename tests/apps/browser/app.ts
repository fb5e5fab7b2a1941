/** An application as a process of its own, on a free port of loopback. */
import { DeadlineError, eventually, within } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";

/** Applications of this size take long to start, on machines with few cores above all. */
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 20_000;

/** How to start an application. */
export interface AppOptions {
  readonly program: string;
  /** Command-line arguments, for the port that is free. */
  readonly args: (port: number) => readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Path that answers 200 once the application is ready. */
  readonly readyPath: string;
}

/** A running application. Disposing of it ends it. */
export class App implements AsyncDisposable {
  /** `HOST:PORT`, as an agent's target has it. */
  readonly address: string;

  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<string>;
  #hasEnded = false;

  private constructor(options: AppOptions, port: number) {
    this.address = `127.0.0.1:${port}`;
    this.#name = options.program.split("/").at(-1)!;
    this.#child = new Deno.Command(options.program, {
      args: [...options.args(port)],
      ...options.env && { env: { ...options.env } },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#output = this.#collect();
  }

  /** Starts an application, and waits until it answers. */
  static async start(options: AppOptions): Promise<App> {
    const app = new App(options, freePort());
    try {
      const url = `http://${app.address}${options.readyPath}`;
      await eventually(() => app.#answers(url), `${url} of ${app.#name}`, START_TIMEOUT_MS);
      return app;
    } catch (error) {
      await app[Symbol.asyncDispose]();
      throw new Error(`${app.#name} did not start:\n${await app.#output}`, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#signal("SIGTERM");
    try {
      await within(this.#output, `${this.#name} to stop`, STOP_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
      this.#signal("SIGKILL");
      await this.#output;
    }
  }

  async #answers(url: string): Promise<boolean> {
    if (this.#hasEnded) throw new Error(`${this.#name} ended by itself`);
    try {
      const response = await fetch(url);
      await response.body?.cancel();
      if (response.ok) return true;
    } catch (error) {
      // It does not listen yet.
      if (!(error instanceof TypeError)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    return false;
  }

  #signal(signal: Deno.Signal): void {
    if (!this.#hasEnded) this.#child.kill(signal);
  }

  async #collect(): Promise<string> {
    const texts = await Promise.all(
      [this.#child.stdout, this.#child.stderr].map((stream) => new Response(stream).text()),
    );
    await this.#child.status;
    this.#hasEnded = true;
    return texts.join("\n");
  }
}
