/** What relays and name servers last answered, by what it is about. */

/** Beyond this many, it is looked for answers that nobody renews. */
const firstCheck = 1_024;
/** Whoever needs an answer renews it when its time is over; these are about objects that are gone. */
const forgottenMs = 3_600_000;

/** Forgets answers that nobody has renewed for an hour, as long as there are not few. */
export class LastAnswers<Answer extends { readonly untilMs: number }> extends Map<string, Answer> {
  readonly #nowMs: () => number;
  #checkAt = firstCheck;

  /** @param nowMs The clock of `untilMs`. */
  constructor(nowMs: () => number = () => performance.now()) {
    super();
    this.#nowMs = nowMs;
  }

  override set(key: string, answer: Answer): this {
    if (this.size >= this.#checkAt) this.#forgetOld();
    return super.set(key, answer);
  }

  #forgetOld(): void {
    const beforeMs = this.#nowMs() - forgottenMs;
    for (const [key, { untilMs }] of this) if (untilMs < beforeMs) this.delete(key);
    this.#checkAt = Math.max(firstCheck, 2 * this.size);
  }
}
