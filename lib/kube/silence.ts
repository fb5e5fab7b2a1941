/** The deadline of a watch that says nothing. */

/** Nothing came for as long as a watch may be silent. */
export class WatchSilence extends Error {
  override readonly name = "WatchSilence";
}

/**
 * Fails a watch on which nothing comes. An abort may not wake a read on a connection whose peer is
 * frozen, so readers wait for {@link failure} as well.
 */
export class SilenceDeadline {
  readonly #silenceMs: number;
  readonly #end: () => void;
  readonly #failure = Promise.withResolvers<never>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param end ends the request, when nothing has come for `silenceMs` since {@link heard} */
  constructor(silenceMs: number, end: () => void) {
    this.#silenceMs = silenceMs;
    this.#end = end;
    // Nobody may be reading when it comes.
    this.#failure.promise.catch(() => {});
  }

  /** Rejects when nobody should wait any longer. */
  get failure(): Promise<never> {
    return this.#failure.promise;
  }

  /** Restarts the time: something was received. */
  readonly heard = (): void => {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.fail(new WatchSilence(`No byte for ${this.#silenceMs / 1_000} s`));
      this.#end();
    }, this.#silenceMs);
  };

  /** Rejects {@link failure}. */
  fail(error: Error): void {
    this.#failure.reject(error);
  }

  /** The watch is over. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}
