/** A relay's connection to the shared store: commands in time, and whether the store can be asked. */
import { messageOf } from "../../message_of.ts";
import { DirectoryError, type DirectoryEvents } from "./directory.ts";
import type { DirectoryTiming } from "./directory_timing.ts";
import type { Store } from "./store.ts";
import { isWrongServer } from "./store_error.ts";

/** Replies in a row that fail before the store counts as away; one heartbeat alone is enough. */
const maxFailures = 3;

/** Reasons that are told while it is away: the first is often what the one that matters did to a connection. */
const maxAwayReasons = 5;

/** What a link needs. */
export interface StoreLinkOptions {
  readonly store: Store;
  readonly events: Pick<DirectoryEvents, "away" | "failed" | "invalid">;
  readonly timing: Pick<DirectoryTiming, "heartbeatMs" | "replyMs">;
}

/** Up from {@link StoreLink.begin} until the store is found to be away. */
export class StoreLink {
  readonly #store: Store;
  readonly #events: StoreLinkOptions["events"];
  readonly #timing: StoreLinkOptions["timing"];
  #isUp = false;
  #isSettled = false;
  /** What has been said of why it is away since it was last up. */
  readonly #awayReasons = new Set<string>();
  /** Replies that failed since the last one that did not. */
  #failures = 0;
  #isNewConnection = true;
  #isConnected = false;
  /** When a connection was last given up. */
  #reconnectedMs = -Infinity;
  #mustReconnect = false;
  #isClosed = false;

  constructor({ store, events, timing }: StoreLinkOptions) {
    this.#store = store;
    this.#events = events;
    this.#timing = timing;
  }

  /** Begins to connect. @param ready called for each connection that was made */
  open(ready: () => void): void {
    this.#store.onReady = () => {
      this.#isNewConnection = this.#isConnected = true;
      ready();
    };
    this.#store.onError = (reason) => {
      this.#isConnected = false;
      this.#away(reason);
    };
    this.#store.open();
  }

  close(): void {
    this.#isClosed = true;
    this.#isUp = false;
    this.#store.close();
  }

  /** Whether the store can be asked; one reply that is late does not change that. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Whether it was reached, or found to be away, since it was opened. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** A connection was made since what this relay wrote was last known to be there. */
  get isNewConnection(): boolean {
    return this.#isNewConnection;
  }

  /** The next heartbeat is to make a new connection. */
  get mustReconnect(): boolean {
    return this.#mustReconnect;
  }

  /** The store answers: from now on it counts as up. */
  begin(): void {
    this.#isUp = !this.#isClosed;
  }

  /**
   * Restores what a new connection may lack, and calls the store settled once that is done. A
   * connection that is made meanwhile is looked at after this.
   */
  async settle(restore: () => Promise<void>): Promise<void> {
    const isNewConnection = this.#isNewConnection;
    this.#isNewConnection = false;
    try {
      await restore();
    } catch (error) {
      this.#isNewConnection ||= isNewConnection;
      throw error;
    }
    this.#mustReconnect = false;
    this.#awayReasons.clear();
    this.#isSettled = true;
  }

  /** As {@link send}, for a key that may be of another type than ours: what it holds counts as nothing. */
  async read(command: readonly string[]): Promise<unknown> {
    try {
      return await this.send(command);
    } catch (error) {
      if (!messageOf(error).startsWith("WRONGTYPE")) throw error;
      this.#events.invalid("a key of another type");
      return null;
    }
  }

  /**
   * Sends a command, and waits for its reply only so long.
   *
   * @throws {DirectoryError} when no reply comes in time; what the store throws otherwise.
   */
  async send(command: readonly string[]): Promise<unknown> {
    const { replyMs } = this.#timing;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(new DirectoryError(`No reply within ${replyMs} ms`)),
      replyMs,
    );
    try {
      const reply = await Promise.race([this.#store.send(command), late.promise]);
      this.#failures = 0;
      return reply;
    } finally {
      clearTimeout(timer);
    }
  }

  /** One reply failed, which says little; that the server is the wrong one, or several did, says more. */
  failed(error: unknown): void {
    const reason = messageOf(error);
    this.#events.failed();
    this.#failures++;
    if (isWrongServer(reason)) {
      this.#away(reason);
      this.reconnect();
    } else if (this.#failures >= maxFailures) this.#away(reason);
  }

  /** A heartbeat failed: the store is away. */
  beatFailed(error: unknown): void {
    this.failed(error);
    this.#away(messageOf(error));
    // A line that was cut without a word would stay so for as long as TCP has patience, and one on
    // which the server never says hello for ever.
    if (error instanceof DirectoryError || !this.#isConnected) this.reconnect();
  }

  /** Makes a new connection, now or, when the last one is as young as that, with the next heartbeat. */
  reconnect(): void {
    if (this.#isClosed) return;
    const nowMs = performance.now();
    this.#mustReconnect = nowMs - this.#reconnectedMs < this.#timing.heartbeatMs / 2;
    if (this.#mustReconnect) return;
    this.#reconnectedMs = nowMs;
    this.#isConnected = false;
    this.#store.reconnect();
  }

  #away(reason: string): void {
    this.#isUp = false;
    this.#isSettled = true;
    const isTold = this.#awayReasons.has(reason) || this.#awayReasons.size >= maxAwayReasons;
    if (isTold || this.#isClosed) return;
    this.#awayReasons.add(reason);
    this.#events.away(reason);
  }
}
