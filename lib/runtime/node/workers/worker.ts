/** A worker's side of its parent: what it is told at start, what it shares, and how it ends. */
import process from "node:process";
import type { AdminEvent } from "../../../admin/event_log.ts";
import type { AgentObject, OtherAgents } from "../../../admin/other_agents.ts";
import type { PeerList } from "../../../admin/peer_statuses.ts";
import type { RelayOptions } from "../../../config/relay_options.ts";
import { listenersOf } from "../../../config/relay_listeners.ts";
import type { ListenAddress } from "../../../config/options/address.ts";
import type { Store } from "../../../relay/directory/store.ts";
import { readinessFacts } from "../../../relay/readiness.ts";
import type { Relay } from "../../../relay/relay.ts";
import { Channel } from "../../../workers/channel.ts";
import type { ParentCalls, Welcome, WorkerCalls } from "../../../workers/messages.ts";
import { WorkerEntries } from "../../../workers/worker_entries.ts";
import { WorkerStore } from "../../../workers/worker_store.ts";
import {
  readStandardInput,
  type WriteSome,
  writeToStandardOutput,
} from "../../deno/standard_streams.ts";
import type { StopSignal } from "../program.ts";
import type { PortSharing } from "../relay/service_ports.ts";
import { messageLine, takeMessages } from "./message_lines.ts";

/** Set in the environment of a process that a parent has started as a worker. */
export const workerVariable = "CULVERT_WORKER";

/** How long the parent may take to ask all workers, in milliseconds. */
const wholeTimeoutMs = 10_000;
/** The time between two checks for open requests while all workers stop, in milliseconds. */
const idleLookMs = 25;
/** The loopback address at which workers forward requests to each other. */
const loopback = "127.0.0.1";

/** Each is called when the parent asks; what a worker does not have yet, it has nothing to say of. */
interface Answers {
  storeChanged: () => Promise<void>;
  agents: WatchedAgents | undefined;
  stop: (signal: StopSignal) => void;
  reopenAudit: () => void;
}

/** Agents' sessions, for those who watch at the lead. */
export interface WatchedAgents {
  readonly own: () => readonly AgentObject[];
  readonly others: OtherAgents;
}

/** One of several processes that are one relay. */
export class Worker implements PortSharing {
  readonly #welcome: Welcome;
  readonly #parent: Channel<ParentCalls>;
  readonly #answers: Answers;
  readonly #stopped: Promise<StopSignal>;
  #entries: WorkerEntries | undefined;
  #relay: Relay | undefined;
  /** Whether the workers share a store in their parent, and not a Redis. */
  hasOwnStore = true;
  #hopAddress: ListenAddress = { hostname: loopback, port: 0 };

  private constructor(welcome: Welcome, parent: Channel<ParentCalls>, answers: Answers) {
    this.#welcome = welcome;
    this.#parent = parent;
    this.#answers = answers;
    const { promise, resolve } = Promise.withResolvers<StopSignal>();
    this.#stopped = promise;
    answers.stop = resolve;
  }

  /** Waits for what the parent has to say; undefined in a process that is no worker. */
  static async join(): Promise<Worker | undefined> {
    if (process.env[workerVariable] === undefined) return undefined;
    delete process.env[workerVariable];
    // A terminal and some supervisors signal workers too: the parent says when they stop.
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => {});
    const answers: Answers = {
      agents: undefined,
      storeChanged: () => Promise.resolve(),
      stop() {},
      reopenAudit() {},
    };
    const welcomed = Promise.withResolvers<Welcome>();
    let worker: Worker | undefined = undefined as Worker | undefined;
    const calls: WorkerCalls = {
      welcome: welcomed.resolve,
      ping: () => {},
      facts: () => worker!.#facts(),
      metrics: async () => await worker!.#relay?.metrics.text() ?? "",
      entriesChanged: async () => await worker!.#entries?.changedElsewhere(),
      storeChanged: () => answers.storeChanged(),
      ownAgents: () => answers.agents?.own() ?? [],
      otherAgents: ({ worker, event, all }) => {
        if (event) answers.agents?.others.changed(worker, event);
        if (all) answers.agents?.others.replace(worker, all);
      },
      stop: (signal) => answers.stop(signal),
      reopenAudit: () => answers.reopenAudit(),
    };
    const parent = new Channel<ParentCalls, WorkerCalls>({
      // What can't be written has no reader any more, and standard input says so, too.
      send: (message) => void writeToStandardOutput(messageLine(message)).catch(() => {}),
      calls,
    });
    void endWithParent(parent);
    worker = new Worker(await welcomed.promise, parent, answers);
    return worker;
  }

  /** Counts from 1. */
  get number(): number {
    return this.#welcome.worker;
  }

  get workers(): number {
    return this.#welcome.workers;
  }

  /** What only one of them does. */
  get isLead(): boolean {
    return this.number === 1;
  }

  /** What the log needs: this process's number, and whether its lines are shown on a terminal. */
  get log(): { readonly worker: number; readonly isTerminal: boolean } {
    return { worker: this.number, isTerminal: this.#welcome.isTerminal };
  }

  /** The key that all workers seal cookies with unless there is a file of keys. A secret. */
  get sessionKey(): Uint8Array {
    return Uint8Array.fromBase64(this.#welcome.sessionKey);
  }

  /** Where this worker takes what others forward. */
  get hopAddress(): ListenAddress {
    return this.#hopAddress;
  }

  /** The options of all, as this worker uses them. */
  optionsFrom(options: RelayOptions): RelayOptions {
    const { ports, tokens, assertionKey } = this.#welcome;
    const bound = (address: ListenAddress, option: string): ListenAddress =>
      ports[option] === undefined ? address : { ...address, port: ports[option] };
    const { addr, internalAddr, webAddr, healthAddr, admin, directory } = options;
    this.hasOwnStore = directory === undefined;
    const hopPort = internalAddr.port === 0 ? 0 : portBehind(options, this.number);
    if (directory) this.#hopAddress = { ...internalAddr, port: hopPort };
    return {
      ...options,
      addr: bound(addr, "addr"),
      internalAddr: bound(internalAddr, "internal-addr"),
      ...webAddr && { webAddr: bound(webAddr, "web-addr") },
      ...healthAddr && { healthAddr: bound(healthAddr, "health-addr") },
      ...admin && { admin: { ...admin, addr: bound(admin.addr, "admin-addr") } },
      assertionKeys: options.assertionKeys ?? [assertionKey],
      directory: directory
        ? {
          ...directory,
          advertise: withOffset(directory.advertise, hopPort && hopPort - internalAddr.port),
        }
        : { url: "", advertise: `http://${loopback}:0`, tokens },
      // The parent has logged them.
      warnings: [],
    };
  }

  /** A connection to the store in the parent; undefined where there is a Redis. */
  ownStore(): Store | undefined {
    return this.hasOwnStore ? new WorkerStore(this.#parent) : undefined;
  }

  /** The entries of the admin API, which the parent keeps. */
  entries(): WorkerEntries {
    return this.#entries ??= new WorkerEntries(this.#parent);
  }

  /** The workers, for each other. */
  peerList(): PeerList {
    return {
      open() {},
      list: async () => {
        const workers = await this.#parent.call("peers", null);
        return workers.map(({ relay: id, url }) => ({ id, url }));
      },
      close() {},
    };
  }

  /** Has the parent write whole lines to standard output. */
  readonly writeOutput: WriteSome = async (bytes) => {
    await this.#parent.call("writeOutput", new TextDecoder().decode(bytes), Infinity);
    return bytes.length;
  };

  /** Answers for this relay from now on, and has it answer for all of them. */
  serve(relay: Relay, reopenAudit: () => void): void {
    this.#relay = relay;
    this.#answers.reopenAudit = reopenAudit;
    relay.whole = {
      readiness: (excludesAgents) =>
        this.#parent.call("readiness", { excludesAgents }, wholeTimeoutMs),
      metrics: () => this.#parent.call("metrics", null, wholeTimeoutMs),
    };
  }

  /** What all workers follow in their store has changed; they wait until `look` has seen it. */
  followStore(look: () => Promise<void>): void {
    this.#answers.storeChanged = look;
  }

  /** Shows agents' sessions to the other workers, and theirs here. */
  watch(agents: WatchedAgents): void {
    this.#answers.agents = agents;
  }

  /** Has the lead know that one of this worker's agents has come or gone. */
  tellAgents(event: AdminEvent): void {
    this.#parent.call("agents", event).catch(() => {}); // The lead asks for all when it is there again.
  }

  /** All listeners are bound. @param url origin at which other workers find this one */
  async listening(url: string, ports: Readonly<Record<string, number>>): Promise<void> {
    const relay = this.#relay!.settings.instance!;
    await this.#parent.call("listening", { relay, url, ports }, Infinity);
  }

  async sharePort<Bound extends { readonly port: number }>(
    name: string,
    bind: (port: number) => Promise<Bound>,
  ): Promise<Bound> {
    const port = await this.#parent.call("claimPort", name, Infinity);
    try {
      const bound = await bind(port);
      if (port === 0) await this.#parent.call("claimedPort", { name, port: bound.port });
      return bound;
    } catch (error) {
      if (port === 0) await this.#parent.call("claimedPort", { name, port: 0 });
      throw error;
    }
  }

  /** Resolves when the parent has the workers stop. */
  untilStopped(): Promise<StopSignal> {
    return this.#stopped;
  }

  /** Waits until no worker has a request open, `ms` at most. */
  async untilAllIdle(ms: number): Promise<void> {
    const deadlineMs = performance.now() + ms;
    while (this.#relay!.openRequests > 0 && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, idleLookMs));
    }
    const leftMs = Math.max(1, deadlineMs - performance.now());
    // Too late: what is open in others is broken off there.
    await this.#parent.call("idle", null, leftMs).catch(() => {});
  }

  #facts() {
    if (!this.#relay) throw new Error("The worker has just been started");
    const { directory, ...facts } = readinessFacts(this.#relay);
    // The store in the parent holds no agents of others.
    return this.hasOwnStore && directory?.isSettled ? facts : { ...facts, directory };
  }
}

/** Takes what the parent says. Nothing of a worker is to outlive its parent, however that ends. */
async function endWithParent(parent: Channel<ParentCalls>): Promise<never> {
  const messages = takeMessages(readStandardInput(), (message) => parent.received(message));
  for await (const _nothingElse of messages);
  process.exit(1);
}

/** The port of a worker behind the one that all share: those that something else listens on are left out. */
function portBehind(options: RelayOptions, worker: number): number {
  const listeners = listenersOf({ ...options, adminAddr: options.admin?.addr })
    .map(([, { port }]) => port);
  const services = options.services?.services.map(({ listen }) => listen?.port) ?? [];
  const taken = new Set([...listeners, ...services]);
  let { port } = options.internalAddr;
  for (let left = worker; left > 0;) if (!taken.has(++port)) left--;
  return port;
}

/** The URL at a port behind its own; offset or port 0 stand for the port that is bound. */
function withOffset(text: string, offset: number): string {
  const url = new URL(text);
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  url.port = String(port && offset && port + offset);
  return url.origin;
}
