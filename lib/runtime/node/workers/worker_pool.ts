/** The workers of one relay: each is started, watched and started again. */
import type { Log } from "../../../log.ts";
import { messageOf } from "../../../message_of.ts";
import { mergedMetrics } from "../../../workers/merged_metrics.ts";
import type { EntryServer } from "../../../workers/entry_server.ts";
import { MemoryStore } from "../../../workers/memory_store.ts";
import type {
  CommitReply,
  ParentCalls,
  TextChange,
  Welcome,
  WorkerAddress,
  WorkerCalls,
} from "../../../workers/messages.ts";
import { wholeReadiness } from "../../../workers/whole_readiness.ts";
import type { Readiness } from "../../../relay/readiness.ts";
import { relayKey } from "../../../relay/directory/store_keys.ts";
import type { StopSignal } from "../program.ts";
import { PortClaims } from "./port_claims.ts";
import { RestartDelay } from "./restart_delay.ts";
import { type WorkerExit, type WorkerOutputs, WorkerProcess } from "./worker_process.ts";

/** How long a worker may take to listen, and to answer that it is alive, in milliseconds. */
const startTimeoutMs = 120_000;
const pingTimeoutMs = 60_000;
const pingMs = 5_000;
/** How long workers may take to report readiness or metrics, or to use changed entries, in milliseconds. */
const answerMs = 2_000;
/** The time between two searches for what has expired in the store, in milliseconds. */
const storeSweepMs = 10_000;
/** What a worker may take longer to stop than it was given, in milliseconds. */
const stopSlackMs = 10_000;

/** What all workers are told. */
export type CommonWelcome = Omit<Welcome, "worker" | "ports">;

/** What the workers are run with. */
export interface WorkerPoolContext {
  readonly log: Log;
  readonly welcome: CommonWelcome;
  readonly outputs: WorkerOutputs;
  /** The parent's own metrics. */
  readonly metrics: () => Promise<string>;
  /** The entries of the admin API; undefined where the parent keeps none. */
  readonly entries: EntryServer | undefined;
  readonly restarted: () => void;
}

/** A worker could not be started in the first place. */
export class WorkerStartError extends Error {
  readonly code: number;

  constructor({ code }: WorkerExit) {
    super("A worker could not be started");
    this.code = code || 1;
  }
}

/** All workers. */
export class WorkerPool {
  readonly #context: WorkerPoolContext;
  readonly #store = new MemoryStore();
  /** The process of each worker that runs, or is about to. */
  readonly #processes: (WorkerProcess | undefined)[];
  readonly #ports: Record<string, number> = {};
  readonly #claims = new PortClaims();
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  /** Those that have no open request while all stop. */
  readonly #idle = new Map<WorkerProcess, () => void>();
  #isStopping = false;

  constructor(context: WorkerPoolContext) {
    this.#context = context;
    this.#processes = new Array(context.welcome.workers).fill(undefined);
  }

  /** Workers that listen. */
  get running(): number {
    return this.#listening.length;
  }

  /**
   * Starts all of them, the first one alone: it finds out what can't be used, and which ports 0 stands for.
   *
   * @throws {WorkerStartError} if one of them ends
   */
  async start(): Promise<void> {
    const [first, ...others] = this.#processes.keys();
    try {
      await this.#startFirst(first!);
      await Promise.all(others.map((index) => this.#startFirst(index)));
    } catch (error) {
      this.#isStopping = true;
      for (const process of this.#live) process.kill();
      throw error;
    }
    this.#timers.push(
      setInterval(() => this.#store.sweep(), storeSweepMs),
      setInterval(() => this.#pingAll(), pingMs),
    );
  }

  /** Has all stop in good order. @returns the exit code: 0 if all of them have */
  async stop(signal: StopSignal, withinMs: number): Promise<number> {
    this.#isStopping = true;
    for (const timer of this.#timers) clearInterval(timer);
    const timer = setTimeout(() => {
      for (const process of this.#live) process.kill();
    }, withinMs + stopSlackMs);
    const exits = await Promise.all(this.#live.map((process) => this.#stopOne(process, signal)));
    clearTimeout(timer);
    return exits.every(({ code }) => code === 0) ? 0 : 1;
  }

  /** Has all open their audit logs anew. */
  reopenAudit(): void {
    for (const { channel } of this.#listening) channel.call("reopenAudit", null).catch(() => {});
  }

  async #stopOne(process: WorkerProcess, signal: StopSignal): Promise<WorkerExit> {
    // One that does not listen yet has no requests.
    if (!process.address) process.kill();
    else process.channel.call("stop", signal).catch(() => {}); // It has ended, or is killed later.
    const exit = await process.exited;
    this.#checkIdle();
    return process.isWelcomed ? exit : { ...exit, code: 0 };
  }

  get #live(): WorkerProcess[] {
    return this.#processes.filter((process) =>
      process !== undefined && !process.hasExited
    ) as WorkerProcess[];
  }

  get #listening(): WorkerProcess[] {
    return this.#live.filter(({ address }) => address !== undefined);
  }

  async #startFirst(index: number): Promise<void> {
    const process = this.#spawn(index);
    try {
      await process.listening;
    } catch {
      throw new WorkerStartError(await process.exited);
    }
    void this.#keepRunning(index, process);
  }

  /** Starts a worker again whenever it has ended. */
  async #keepRunning(index: number, process: WorkerProcess): Promise<void> {
    const delay = new RestartDelay();
    while (!this.#isStopping) {
      delay.started();
      const { code, signal } = await process.exited;
      if (this.#isStopping) return;
      const waitMs = delay.next();
      this.#context.restarted();
      this.#context.log.error("Worker exited; restarting it", {
        ...{ worker: index + 1, pid: process.pid, code, signal, wait_ms: waitMs },
      });
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      if (this.#isStopping) return;
      process = this.#spawn(index);
    }
  }

  #spawn(index: number): WorkerProcess {
    const { outputs, welcome, log } = this.#context;
    const process = new WorkerProcess(outputs, (process) => this.#callsOf(process));
    this.#processes[index] = process;
    const timer = setTimeout(
      () => this.#end(process, "It does not begin to listen"),
      startTimeoutMs,
    );
    process.listening.then(() => {
      clearTimeout(timer);
      log.info("Worker started", { worker: index + 1, pid: process.pid });
    }, () => clearTimeout(timer));
    void process.exited.then(() => this.#forget(process));
    const own = { ...welcome, worker: index + 1, ports: this.#ports };
    process.channel.call("welcome", own, startTimeoutMs).then(
      () => process.isWelcomed = true,
      () => {}, // It has ended, or is ended by the timer.
    );
    return process;
  }

  /** The others need not wait until they have found out themselves that it is gone. */
  #forget(process: WorkerProcess): void {
    this.#claims.left(process);
    this.#tellLead({ worker: this.#numberOf(process), all: [] });
    this.#checkIdle();
    const { relay } = process.lastAddress ?? {};
    if (relay !== undefined) this.#store.execute(["DEL", relayKey(relay)]);
  }

  #callsOf(process: WorkerProcess): ParentCalls {
    return {
      store: (command) => this.#execute(process, command),
      loadEntries: () => this.#entries.load(),
      commitEntries: ({ revision, changes }) => this.#commit(process, revision, changes),
      writeOutput: async (text) => {
        await this.#context.outputs.output.writeWhole(new TextEncoder().encode(text));
      },
      peers: () => this.#listening.map(({ address }) => address!),
      readiness: ({ excludesAgents }) => this.readiness(excludesAgents),
      metrics: () => this.metrics(),
      listening: ({ ports, ...address }) => {
        for (const [option, port] of Object.entries(ports)) {
          if (option !== "workers") this.#ports[option] ??= port;
        }
        process.listens(address satisfies WorkerAddress);
        void this.#introduceAgents();
      },
      agents: (event) => this.#tellLead({ worker: this.#numberOf(process), event }),
      claimPort: (name) => this.#claims.claim(name, process),
      claimedPort: ({ name, port }) => this.#claims.claimed(name, port),
      idle: () => this.#becomeIdle(process),
    };
  }

  get #entries(): EntryServer {
    const { entries } = this.#context;
    if (!entries) throw new Error("The parent keeps no entries");
    return entries;
  }

  /** Stores changes, and has the others use them before whoever made them goes on. */
  async #commit(
    from: WorkerProcess,
    revision: number,
    changes: readonly TextChange[],
  ): Promise<CommitReply> {
    const reply = await this.#entries.commit(revision, changes);
    if (reply.kind === "stale") return reply;
    await this.#tellOthers(from, "entriesChanged");
    return reply;
  }

  /** What is added to a stream is what the others follow: they know it before whoever added it goes on. */
  async #execute(from: WorkerProcess, command: readonly string[]): Promise<unknown> {
    const reply = this.#store.execute(command);
    if (command[0] === "XADD") await this.#tellOthers(from, "storeChanged");
    return reply;
  }

  async #tellOthers(
    from: WorkerProcess,
    what: "entriesChanged" | "storeChanged",
  ): Promise<void> {
    const others = this.#live.filter((process) => process !== from && process.isWelcomed);
    await Promise.all(others.map(async (process) => {
      try {
        await process.channel.call(what, null, answerMs);
      } catch (error) {
        if (process.hasExited) return;
        this.#context.log.warn("Worker did not apply a change in time", {
          worker: this.#numberOf(process),
          error: messageOf(error),
        });
      }
    }));
  }

  #numberOf(process: WorkerProcess): number {
    return this.#processes.indexOf(process) + 1;
  }

  #tellLead(told: Parameters<WorkerCalls["otherAgents"]>[0]): void {
    const lead = this.#processes[0];
    // One that begins to listen asks for all.
    if (lead?.address) lead.channel.call("otherAgents", told).catch(() => {});
  }

  /** The lead has been started (again): it is to know the agents of all. */
  async #introduceAgents(): Promise<void> {
    await Promise.all(this.#listening.map(async (process) => {
      const worker = this.#numberOf(process);
      if (worker === 1) return;
      try {
        this.#tellLead({ worker, all: await process.channel.call("ownAgents", null, answerMs) });
      } catch {
        // It has ended, and tells of its agents when it is there again.
      }
    }));
  }

  /** Whether all of them are ready together. */
  async readiness(excludesAgents: boolean): Promise<Readiness> {
    const facts = this.#processes.map(async (process) => {
      if (!process?.address) return undefined;
      return await process.channel.call("facts", null, answerMs).catch(() => undefined);
    });
    return wholeReadiness(await Promise.all(facts), excludesAgents);
  }

  /** The metrics of all of them, and of their parent. */
  async metrics(): Promise<string> {
    const workers = this.#processes.map(async (process, index) => {
      if (!process?.address) return [];
      const text = await process.channel.call("metrics", null, answerMs).catch(() => "");
      return [{ worker: String(index + 1), text }];
    });
    const own = { worker: "parent", text: await this.#context.metrics() };
    return mergedMetrics([own, ...(await Promise.all(workers)).flat()]);
  }

  #pingAll(): void {
    for (const process of this.#listening) {
      if (process.isPinged) continue;
      process.isPinged = true;
      process.channel.call("ping", null, pingTimeoutMs).then(
        () => process.isPinged = false,
        ({ message }: Error) => this.#end(process, message),
      );
    }
  }

  #end(process: WorkerProcess, reason: string): void {
    if (process.hasExited) return;
    this.#context.log.error("Worker does not respond; killing it", {
      ...{ worker: this.#numberOf(process), pid: process.pid, reason },
    });
    process.kill();
  }

  /** What one still forwards to another is taken until none has an open request. */
  #becomeIdle(process: WorkerProcess): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle.set(process, resolve);
    this.#checkIdle();
    return promise;
  }

  #checkIdle(): void {
    if (this.#listening.some((process) => !this.#idle.has(process))) return;
    for (const resolve of this.#idle.values()) resolve();
  }
}
