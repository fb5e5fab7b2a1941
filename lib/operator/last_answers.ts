/** The last answers of relays and name servers, by what was asked. */

/** The number of answers below which none is forgotten. */
const firstCheck = 1_024;
/** An answer is renewed at `untilMs`. One that was not for so long is about an object that is gone. */
const forgottenMs = 3_600_000;

/** A map that forgets answers which were not renewed for an hour. */
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
