/** The store that workers share, as a worker has it: its parent executes the commands. */
import type { Store } from "../relay/directory/store.ts";
import type { Channel } from "./channel.ts";
import type { ParentCalls } from "./messages.ts";

/** Commands of one user of the store in a worker; each user has one of its own, as with Redis. */
export class WorkerStore implements Store {
  readonly #parent: Channel<ParentCalls>;
  #isOpen = false;
  onReady = (): void => {};
  /** Never called: a worker without its parent ends. */
  onError = (_reason: string): void => {};

  constructor(parent: Channel<ParentCalls>) {
    this.#parent = parent;
  }

  async send(command: readonly string[]): Promise<unknown> {
    if (!this.#isOpen) throw new Error("The store is closed");
    return await this.#parent.call("store", command);
  }

  open(): void {
    this.#isOpen = true;
    queueMicrotask(() => {
      if (this.#isOpen) this.onReady();
    });
  }

  reconnect(): void {
    this.open();
  }

  close(): void {
    this.#isOpen = false;
  }
}
