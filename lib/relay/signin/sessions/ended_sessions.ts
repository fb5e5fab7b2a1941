/** Sessions that have ended, in case the store has not heard of that, or has lost it. */
import type { RecentFacts } from "./recent_facts.ts";
import type { SessionStore } from "./session_store.ts";
import { setNewest } from "../../../set_newest.ts";

/** Ended sessions that are remembered. */
const maxEnded = 10_000;

/** Ends them in the store. */
export class EndedSessions {
  readonly #store: SessionStore;
  readonly #facts: RecentFacts;
  /** `false` as long as the store does not know. */
  readonly #ended = new Map<string, boolean>();

  constructor(store: SessionStore, facts: RecentFacts) {
    this.#store = store;
    this.#facts = facts;
  }

  has(id: string): boolean {
    return this.#ended.has(id);
  }

  /** A session has ended here; `delete` is still to tell the store. */
  add(id: string): void {
    this.#remember(id, false);
  }

  /** A session has ended in the store. */
  heard(id: string): void {
    this.#remember(id, true);
  }

  #remember(id: string, isStored: boolean): void {
    setNewest(this.#ended, id, isStored, maxEnded);
  }

  /** Ends a session in the store. @returns whether it was there */
  async delete(id: string): Promise<boolean> {
    const isThere = await this.#store.delete(id);
    await this.#store.announce(id);
    this.#remember(id, true);
    this.#facts.add(() => this.deleteAgain(id));
    return isThere;
  }

  /** Ends a session that the store may have forgotten to have ended. */
  async deleteAgain(id: string): Promise<void> {
    if (await this.#store.deleteRecord(id)) await this.delete(id);
  }

  /** Ends in the store what ended here while it was away. */
  async deleteLate(): Promise<void> {
    for (const [id, isStored] of [...this.#ended]) if (!isStored) await this.delete(id);
  }
}
