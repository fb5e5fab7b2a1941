/** What other relays have done to sessions since this one last asked, by the store's own numbers. */
import { maxChanges, type SessionStore } from "./session_store.ts";

/** Clocks do not matter: each change has a number. */
export class SessionChanges {
  readonly #store: SessionStore;
  /** The last change that is known; undefined before the first answer. */
  #seen: string | undefined;
  #hasMissed = false;

  constructor(store: SessionStore) {
    this.#store = store;
  }

  /** Sessions that have changed or ended since this was last asked. */
  async ids(): Promise<ReadonlySet<string>> {
    if (this.#seen === undefined) {
      this.#seen = (await this.#store.lastChange())?.number ?? "0-0";
      // Sessions that ended earlier are not reported any more.
      this.#hasMissed = true;
      return new Set();
    }
    const changes = await this.#store.changesAfter(this.#seen);
    this.#seen = changes.at(-1)?.number ?? this.#seen;
    // Changes are kept up to a number.
    if (changes.length >= maxChanges) this.#hasMissed = true;
    return new Set(changes.map(({ id }) => id));
  }

  /** The store was away: what happened meanwhile may be lost. */
  missed(): void {
    this.#hasMissed = true;
  }

  /** Another server may be behind the store, which numbers changes anew. */
  startAnew(): void {
    this.#seen = undefined;
  }

  /** Whether changes may be lost since this was last asked. */
  takeMissed(): boolean {
    const hasMissed = this.#hasMissed;
    this.#hasMissed = false;
    return hasMissed;
  }
}
