/**
 * Shells in a network of their own, where every port is free: what the documentation shows is typed into
 * them as it stands there. It takes root, and Debian's util-linux and iproute2.
 */
import { DeadlineError, eventually, within } from "../support/deadline.ts";

/** Programs that are started from source take long on machines with few cores. */
const PATIENCE_MS = 120_000;

/** Whether this user may make a network. */
export const canMakeNetworks = Deno.build.os === "linux" && Deno.uid() === 0;

/** A network with nothing but loopback. */
export class Network implements AsyncDisposable {
  readonly #holder: Deno.ChildProcess;

  private constructor(holder: Deno.ChildProcess) {
    this.#holder = holder;
  }

  static async open(): Promise<Network> {
    const script = "ip link set lo up && echo up && exec cat";
    const holder = new Deno.Command("unshare", {
      args: ["--net", "bash", "-c", script],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const reader = holder.stdout.getReader();
    await within(reader.read(), "a network");
    reader.releaseLock();
    return new Network(holder);
  }

  /** Opens a shell in the network. */
  terminal(cwd: string, env: Readonly<Record<string, string>> = {}): Terminal {
    const shell = ["bash", "--noprofile", "--norc"];
    return new Terminal(
      // As a session of its own, so that all of it ends together.
      new Deno.Command("setsid", {
        args: ["nsenter", "--net", `--target=${this.#holder.pid}`, "--", ...shell],
        cwd,
        env: { NO_COLOR: "1", ...env },
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn(),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder.stdin.close();
    await this.#holder.stdout.cancel();
    await this.#holder.status;
  }
}

/** A shell, and what it has shown. */
export class Terminal implements AsyncDisposable {
  readonly #shell: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: Promise<void>[];
  #shown = "";
  #isOver = false;

  constructor(shell: Deno.ChildProcess) {
    this.#shell = shell;
    this.#input = shell.stdin.getWriter();
    this.#output = [shell.stdout, shell.stderr].map((stream) => this.#follow(stream));
  }

  async #follow(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) this.#shown += text;
    this.#isOver = true;
  }

  /** Types text, and does not wait for what comes of it. */
  async type(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(text.endsWith("\n") ? text : `${text}\n`));
  }

  /** Waits until what the shell has shown holds this text. */
  async shows(text: string | RegExp): Promise<void> {
    const isThere = () =>
      typeof text === "string" ? this.#shown.includes(text) : text.test(this.#shown);
    const wanted = () => {
      if (this.#isOver && !isThere()) throw new Error(`The shell ended:\n${this.#shown}`);
      return isThere();
    };
    try {
      await eventually(wanted, `${text}`, PATIENCE_MS);
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
      throw new Error(`${error.message}; there is:\n${this.#shown}`, { cause: error });
    }
  }

  /** Types text, waits for it to end, and returns what it has shown. */
  async run(text: string): Promise<string> {
    const before = this.#shown.length;
    const mark = crypto.randomUUID();
    await this.type(`${text.trimEnd()}\necho "${mark}" "$?"`);
    await this.shows(new RegExp(`${mark} \\d+\n`));
    const [shown = "", code] = this.#shown.slice(before).split(`${mark} `);
    if (!code?.startsWith("0\n")) throw new Error(`${text} failed:\n${shown}`);
    return shown;
  }

  /** Ends the shell and what runs in it, as closing a terminal does. */
  async [Symbol.asyncDispose](): Promise<void> {
    const ended = Promise.all([
      ...this.#output,
      this.#shell.status,
      this.#input.close().catch(String),
    ]);
    await this.#signal("TERM");
    try {
      await within(ended, "a shell to end");
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
      await this.#signal("KILL");
      await ended;
    }
  }

  async #signal(name: "TERM" | "KILL"): Promise<void> {
    const args = [`-${name}`, "--", `-${this.#shell.pid}`];
    await new Deno.Command("kill", { args, stderr: "null" }).output();
  }
}
