/** One process of a worker, as its parent sees it. */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { Channel } from "../../../workers/channel.ts";
import type { ParentCalls, WorkerAddress, WorkerCalls } from "../../../workers/messages.ts";
import { ownProgram } from "../../deno/own_program.ts";
import { processCounts } from "../../../process_counts.ts";
import { messageLine, takeMessages } from "./message_lines.ts";
import type { SharedOutput } from "./shared_output.ts";
import { workerVariable } from "./worker.ts";

/** Where a worker's lines go. */
export interface WorkerOutputs {
  readonly error: SharedOutput;
  readonly output: SharedOutput;
}

/** How a process ended. */
export interface WorkerExit {
  /** Null for one that a signal has ended. */
  readonly code: number | null;
  readonly signal: string | null;
}

/** A process from its start to its end. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly channel: Channel<WorkerCalls, ParentCalls>;
  /** Resolves when it has ended and all that it wrote is passed on. */
  readonly exited: Promise<WorkerExit>;
  readonly #listening = Promise.withResolvers<void>();
  /** Set once it listens, until it ends. */
  address: WorkerAddress | undefined;
  /** The same, after its end too. */
  lastAddress: WorkerAddress | undefined;
  /** A question whether it is alive has no answer yet. */
  isPinged = false;
  /** It reads its calls. */
  isWelcomed = false;
  hasExited = false;

  /** @param callsOf What it may ask for. */
  constructor(outputs: WorkerOutputs, callsOf: (worker: WorkerProcess) => ParentCalls) {
    const { command, args } = ownProgram();
    this.#child = spawn(command, [...args, ...process.argv.slice(2)], {
      env: { ...process.env, [workerVariable]: "1" },
      stdio: "pipe",
    });
    // That it has ended is told by its exit.
    this.#child.stdin?.on("error", () => {});
    this.channel = new Channel<WorkerCalls, ParentCalls>({
      send: (message) => this.#child.stdin?.write(messageLine(message)),
      calls: callsOf(this),
    });
    this.exited = this.#follow(outputs);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Resolves once it listens; rejects if it ends before. */
  get listening(): Promise<void> {
    return this.#listening.promise;
  }

  /** It listens. */
  listens(address: WorkerAddress): void {
    this.address = this.lastAddress = address;
    this.#listening.resolve();
  }

  /** Ends it at once. */
  kill(): void {
    if (!this.hasExited) this.#child.kill("SIGKILL");
  }

  /** Messages are read also while nobody reads this process's own output. */
  async #takeMessages(source: AsyncIterable<Uint8Array>, output: SharedOutput): Promise<void> {
    const others = takeMessages(source, (message) => this.channel.received(message));
    for await (const lines of others) void output.writeWhole(lines).catch(() => {});
  }

  async #follow({ error, output }: WorkerOutputs): Promise<WorkerExit> {
    // Handled where it is awaited; elsewhere, `exited` says the same.
    this.#listening.promise.catch(() => {});
    const ended = Promise.withResolvers<WorkerExit>();
    this.#child.on("error", ({ message }) => {
      this.channel.close(message);
      ended.resolve({ code: 1, signal: null });
    });
    this.#child.on("exit", (code, signal) => {
      this.hasExited = true;
      this.address = undefined;
      this.channel.close("The worker has ended");
      ended.resolve({ code, signal });
    });
    const lost = (lines: number): void => {
      processCounts.lostLogLines += lines;
    };
    const { stdout, stderr } = this.#child;
    const [exit] = await Promise.all([
      ended.promise,
      stderr && error.passOn(stderr, lost).catch(() => {}),
      stdout && this.#takeMessages(stdout, output).catch(() => {}),
    ]);
    this.#listening.reject(new Error("The worker has ended"));
    return exit;
  }
}
