/** What relays show to each other. Several count at once, so that it can be changed without a gap. */
import { isEqualInConstantTime } from "../constant_time.ts";

/** The relays' shared credentials. Secrets. */
export class RelayTokens {
  #tokens: readonly string[];

  /** @param tokens At least one: the first is sent, all are accepted. */
  constructor(tokens: readonly string[]) {
    this.#tokens = tokens;
  }

  /** What this relay shows to the others. */
  get sent(): string {
    return this.#tokens[0]!;
  }

  /** All that count, what is sent first. */
  get all(): readonly string[] {
    return this.#tokens;
  }

  /** Takes others from now on. @param tokens At least one. */
  replace(tokens: readonly string[]): void {
    this.#tokens = tokens;
  }

  /** Whether another relay may show this. All tokens are compared, all of each. */
  accepts(given: string): boolean {
    let isAccepted = false;
    for (const token of this.#tokens) {
      if (isEqualInConstantTime(given, token)) isAccepted = true;
    }
    return isAccepted;
  }
}
