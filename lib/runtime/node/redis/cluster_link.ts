/**
 * A Redis Cluster. Each command goes to the node that has its key; the client follows what nodes say
 * about keys that have moved.
 *
 * When a node does not answer, nobody tells who has its keys next: another client asks the nodes that
 * are known, and takes this one's place.
 */
import { createCluster, ErrorReply } from "redis";
import type { ClusterStore, StoreNode } from "../../../config/store_address.ts";
import { memberOptions } from "./client_options.ts";
import {
  type LinkEvents,
  NoConnectionError,
  type RedisLink,
  retryMs,
  sendingError,
} from "./link.ts";

/**
 * The slot of `{admin}`, whose node gets the commands without a key: `TIME` must be one node's clock
 * for all relays, and `WAIT` is about the admin API's entries.
 */
export const adminSlot = 1_358;
/** A client that has lasted for so long is made anew at once, in milliseconds. */
const calmMs = 10_000;
/** How long a replaced client may take for commands that are under way, in milliseconds. */
const lingerMs = 2_000;

/** Connects to the nodes of a cluster, each when it is first needed. */
export class ClusterLink implements RedisLink {
  readonly #store: ClusterStore;
  readonly #events: LinkEvents;
  #client: ClusterClient | undefined;
  /** The client that is being connected to take this one's place. */
  #next: ClusterClient | undefined;
  /** Clients that were made one soon after the other. */
  #attempts = 0;
  #madeMs = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #leaving = new Map<ClusterClient, ReturnType<typeof setTimeout>>();
  #isDestroyed = false;

  constructor(store: ClusterStore, events: LinkEvents) {
    this.#store = store;
    this.#events = events;
  }

  connect(): void {
    const next = this.#next = clientOf(this.#store, this.#known());
    let lastError: unknown;
    next.on("error", (error) => lastError = error);
    next.on("node-error", () => this.#ask(next));
    next.on("node-ready", () => {
      if (next === this.#client) this.#events.ready();
    });
    next.connect().then(
      () => this.#use(next),
      // What it rejects with says less than what has happened on the way.
      (error) => this.#failed(next, lastError ?? error),
    );
  }

  async send(command: readonly string[]): Promise<unknown> {
    const client = this.#client;
    if (!client) throw new NoConnectionError("There is no connection to the cluster");
    try {
      return await sendTo(client, [...command]);
    } catch (error) {
      if (error instanceof ErrorReply) throw error;
      this.#ask(client);
      throw sendingError(error);
    }
  }

  destroy(): void {
    this.#isDestroyed = true;
    clearTimeout(this.#timer);
    const clients = [this.#client, this.#next, ...this.#leaving.keys()];
    this.#client = this.#next = undefined;
    for (const client of clients) if (client) this.#end(client);
  }

  #use(next: ClusterClient): void {
    if (next !== this.#next) return;
    const before = this.#client;
    this.#client = next;
    this.#next = undefined;
    if (before) this.#leave(before);
    this.#events.ready();
  }

  #failed(next: ClusterClient, error: unknown): void {
    if (next !== this.#next) return;
    this.#next = undefined;
    this.#end(next);
    this.#events.failed(error);
    this.#retry();
  }

  /** A node of a client does not answer. */
  #ask(client: ClusterClient): void {
    if (client === this.#client && !this.#next) this.#retry();
  }

  #retry(): void {
    if (this.#isDestroyed || this.#timer !== undefined) return;
    if (performance.now() - this.#madeMs > calmMs) this.#attempts = 0;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#madeMs = performance.now();
      this.connect();
    }, retryMs(this.#attempts++));
  }

  #leave(client: ClusterClient): void {
    this.#leaving.set(client, setTimeout(() => this.#end(client), lingerMs));
  }

  #end(client: ClusterClient): void {
    clearTimeout(this.#leaving.get(client));
    this.#leaving.delete(client);
    client.destroy();
  }

  /** Nodes to ask: those that were given, and those that were found since. */
  #known(): StoreNode[] {
    const found = this.#client?.masters.map(({ host, port }) => ({ host, port })) ?? [];
    return [...this.#store.nodes, ...found];
  }
}

type ClusterClient = ReturnType<typeof clientOf>;

function clientOf({ login, isTls }: ClusterStore, nodes: readonly StoreNode[]) {
  return createCluster({
    rootNodes: nodes.map(({ host, port }) => ({ socket: { host, port } })),
    defaults: memberOptions(login, isTls),
    // One node that is away must not keep the others from being used.
    minimizeConnections: true,
    topologyRefreshOnReconnectionAttemptStrategy: false,
  });
}

async function sendTo(client: ClusterClient, command: string[]): Promise<unknown> {
  const key = keyOf(command);
  if (key !== undefined) return await client.sendCommand(key, false, command);
  const node = client.slots[adminSlot]?.master;
  if (!node) throw new NoConnectionError("No node of the cluster has the slot of {admin}");
  return await (await client.nodeClient(node)).sendCommand(command);
}

/** The first key of a command, as relays send them. */
function keyOf([name, ...rest]: readonly string[]): string | undefined {
  if (name === "TIME" || name === "PING" || name === "WAIT") return undefined;
  return name === "EVAL" ? rest[2] : rest[0];
}
