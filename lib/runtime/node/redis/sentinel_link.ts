/**
 * A primary that Sentinels watch. The client asks them who it is, follows what they say about it, and
 * goes where they say.
 *
 * When the connection to the primary is lost, this client ends and another one asks again, so that
 * one way leads to a primary, and no command is sent twice.
 */
import { createSentinel } from "redis";
import type { SentinelStore } from "../../../config/store_address.ts";
import { memberOptions } from "./client_options.ts";
import {
  type LinkEvents,
  NoConnectionError,
  type RedisLink,
  retryMs,
  sendingError,
} from "./link.ts";

/** Connects to the primary that Sentinels name. */
export class SentinelLink implements RedisLink {
  readonly #store: SentinelStore;
  readonly #events: LinkEvents;
  #client: SentinelClient | undefined;
  /** Attempts since there was a connection. */
  #attempts = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isDestroyed = false;

  constructor(store: SentinelStore, events: LinkEvents) {
    this.#store = store;
    this.#events = events;
  }

  connect(): void {
    const client = this.#client = clientOf(this.#store);
    let wasReady = false;
    let lastError: unknown;
    client.on("ready", () => {
      wasReady = true;
      if (client !== this.#client) return;
      this.#attempts = 0;
      this.#events.ready();
    });
    client.on("error", (error) => {
      lastError = error;
      // Some are about a Sentinel that is away, which is no harm while there is the primary.
      if (wasReady && client.getMasterNode() === undefined) this.#lost(client, error);
    });
    // What it rejects with says less than what has happened on the way.
    client.connect().catch((error) => this.#lost(client, lastError ?? error));
  }

  async send(command: readonly string[]): Promise<unknown> {
    const client = this.#client;
    // Without a connection the client itself would wait for one.
    if (!client?.isReady || client.getMasterNode() === undefined) {
      throw new NoConnectionError("There is no connection to the primary");
    }
    try {
      return await client.sendCommand(false, [...command]);
    } catch (error) {
      throw sendingError(error);
    }
  }

  destroy(): void {
    this.#isDestroyed = true;
    clearTimeout(this.#timer);
    this.#leave();
  }

  #lost(client: SentinelClient, error: unknown): void {
    if (this.#isDestroyed || client !== this.#client) return;
    this.#leave();
    this.#events.failed(isPrimaryless(error) ? new Error("Sentinel knows no primary") : error);
    this.#timer = setTimeout(() => this.connect(), retryMs(this.#attempts++));
  }

  #leave(): void {
    const client = this.#client;
    this.#client = undefined;
    // What it was about to do fails, which says nothing any more.
    client?.destroy().catch(() => {});
  }
}

/** The client's words when Sentinels say that the primary is down. */
function isPrimaryless(error: unknown): boolean {
  return error instanceof Error && error.message === "no valid master node";
}

type SentinelClient = ReturnType<typeof clientOf>;

function clientOf({ nodes, primary, login, sentinelLogin, database, isTls }: SentinelStore) {
  return createSentinel({
    name: primary,
    sentinelRootNodes: [...nodes],
    nodeClientOptions: { ...memberOptions(login, isTls), database },
    sentinelClientOptions: memberOptions(sentinelLogin, isTls),
    passthroughClientErrorEvents: true,
    // A command whose connection broke may have been done: who sent it decides about another try.
    maxCommandRediscovers: 0,
    // One client that all commands share, in their order.
    masterPoolSize: 1,
    reserveClient: true,
  });
}
