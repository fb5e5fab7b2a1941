/** Bearer tokens that were accepted a moment ago: to verify a JWT costs forty times its look-up here. */
import type { TokenOwner } from "./tokens.ts";

/** How long an accepted token is not checked again, in milliseconds. */
export const rememberedMs = 60_000;
/** Tokens that are remembered; with a JWT's claims, one is a few KiB. The one not used for longest goes. */
export const maxRemembered = 4_096;

interface Verified<Owner> {
  readonly owner: Owner;
  /** Until when the token is not checked again, on the monotonic clock in milliseconds. */
  readonly untilMs: number;
}

/**
 * Owners of accepted tokens, by the tokens' digests, whatever connection they come over: a proxy has
 * many callers on one. A digest tells a guesser nothing by the time that its look-up takes.
 */
export class VerifiedTokens<Owner extends TokenOwner = TokenOwner> {
  /** The one not used for longest is first. */
  readonly #byDigest = new Map<string, Verified<Owner>>();

  /** Tokens that are remembered. */
  get size(): number {
    return this.#byDigest.size;
  }

  /** Whose token this is, if it was accepted less than a minute ago; it may have expired since. */
  find(digest: string, monotonicMs: number): Owner | undefined {
    const verified = this.#byDigest.get(digest);
    if (!verified) return undefined;
    this.#byDigest.delete(digest);
    if (monotonicMs >= verified.untilMs) return undefined;
    this.#byDigest.set(digest, verified);
    return verified.owner;
  }

  /** Remembers an accepted token. */
  add(digest: string, owner: Owner, monotonicMs: number): void {
    this.#byDigest.delete(digest);
    this.#makeRoom(monotonicMs);
    this.#byDigest.set(digest, { owner, untilMs: monotonicMs + rememberedMs });
  }

  /** Forgets those whose time is over, as far as they are first, and one more where that is no room. */
  #makeRoom(monotonicMs: number): void {
    for (const [digest, { untilMs }] of this.#byDigest) {
      if (monotonicMs < untilMs && this.#byDigest.size < maxRemembered) return;
      this.#byDigest.delete(digest);
    }
  }

  /** Looks at every token anew from now on: lists, rules or keys have changed. */
  clear(): void {
    this.#byDigest.clear();
  }
}
