/** Requests that are under way for callers whom a list can withdraw what they have. */
import type { Caller } from "./caller.ts";

/** A request that is under way. */
export interface OpenRequest {
  readonly caller: Caller | undefined;
  readonly cluster: string;
  /** Breaks it off: its caller may not reach the cluster any more. */
  revoke(): void;
}

/** How often expiries are compared with the clock. A clock may jump, so no timer runs until one. */
const sweepMs = 1_000;

/** Ends what a caller has begun when it could not begin it any more: a watch or an exec has no end. */
export class OpenRequests {
  readonly #requests = new Set<OpenRequest>();
  readonly #nowMs: () => number;
  #sweep: ReturnType<typeof setInterval> | undefined;

  /** @param nowMs Milliseconds since 1970. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Requests that are watched. */
  get size(): number {
    return this.#requests.size;
  }

  /** Watches a request until {@link delete}, if its caller is one that can lose its standing. */
  add(request: OpenRequest): void {
    const standing = request.caller?.standing;
    if (!standing) return;
    this.#requests.add(request);
    // The timer runs only while somebody's token can expire.
    if (standing.expiresMs !== Infinity) this.#watchExpiry();
  }

  /** The request is over. */
  delete(request: OpenRequest): void {
    this.#requests.delete(request);
  }

  /** Looks at all of them: a list has changed. */
  review(): void {
    const now = this.#nowMs();
    for (const request of this.#requests) this.#check(request, now);
  }

  /** Ends those whose tokens have expired; the timer calls it. */
  expire(): void {
    const now = this.#nowMs();
    let mayExpire = false;
    for (const request of this.#requests) {
      if (request.caller?.standing?.expiresMs === Infinity) continue;
      mayExpire = true;
      this.#check(request, now);
    }
    if (mayExpire) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #check(request: OpenRequest, nowMs: number): void {
    const standing = request.caller?.standing;
    if (standing?.mayReach(request.cluster, nowMs)) {
      // The new list may have given its token an end.
      if (standing.expiresMs !== Infinity) this.#watchExpiry();
      return;
    }
    this.#requests.delete(request);
    request.revoke();
  }

  #watchExpiry(): void {
    this.#sweep ??= setInterval(() => this.expire(), sweepMs);
  }
}
