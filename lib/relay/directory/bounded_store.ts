/**
 * A store that answers within a time, or fails. A server that is silent, or says that it is not the
 * one to write to, is left for a new connection, which may lead to another one.
 */
import type { Store } from "./store.ts";
import { isWrongServer } from "./store_error.ts";

/** How long a reply may take, in milliseconds. */
const replyMs = 2_000;
/** The time between two connections that are given up, in milliseconds. */
const reconnectMs = 2_500;

/** A {@link Store} around another one, for who has no patience of its own. */
export class BoundedStore implements Store {
  readonly #store: Store;
  readonly #replyMs: number;
  #reconnectedMs = -Infinity;
  #isClosed = false;
  onReady = (): void => {};
  onError = (_reason: string): void => {};

  constructor(store: Store, timing: { replyMs?: number } = {}) {
    this.#store = store;
    this.#replyMs = timing.replyMs ?? replyMs;
    store.onReady = () => this.onReady();
    store.onError = (reason) => this.onError(reason);
  }

  async send(command: readonly string[]): Promise<unknown> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(new Error(`No reply within ${this.#replyMs} ms`));
      this.reconnect();
    }, this.#replyMs);
    try {
      return await Promise.race([this.#store.send(command), late.promise]);
    } catch (error) {
      if (error instanceof Error && isWrongServer(error.message)) this.reconnect();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  open(): void {
    this.#store.open();
  }

  /** Reconnects the inner store, unless that was just done. */
  reconnect(): void {
    const nowMs = performance.now();
    if (this.#isClosed || nowMs - this.#reconnectedMs < reconnectMs) return;
    this.#reconnectedMs = nowMs;
    this.#store.reconnect();
  }

  close(): void {
    this.#isClosed = true;
    this.#store.close();
  }
}
