/** Waiting for a condition that changes with events: no polling, and a deadline on every wait. */
import { within } from "../support/deadline.ts";

/** Something that happens again and again, and who waits for it. */
export class Changes {
  #changed = Promise.withResolvers<void>();

  /** Says that something has happened. */
  happened(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  /** Resolves once the condition holds; it is looked at again after each change. */
  async until(condition: () => boolean, what: () => string): Promise<void> {
    while (!condition()) await within(this.#changed.promise, what);
  }
}
