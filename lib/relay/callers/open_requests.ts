/** Requests that are under way for callers whom a list can withdraw what they have. */
import { isolated } from "../../faults.ts";
import { Linked, LinkedList } from "../../linked_list.ts";
import type { Caller } from "./caller.ts";

/** A request that is under way. */
export interface OpenRequest {
  readonly caller: Caller | undefined;
  readonly cluster: string;
  /** Breaks it off: its caller may not reach the cluster any more. */
  revoke(): void;
}

/** A request that is watched. */
export class Watching extends Linked<Watching> {
  readonly request: OpenRequest;

  constructor(request: OpenRequest) {
    super();
    this.request = request;
  }
}

/** How often expiries are compared with the clock. A clock may jump, so no timer runs until one. */
const sweepMs = 1_000;

/** Ends what a caller has begun when it could not begin it any more: a watch or an exec has no end. */
export class OpenRequests {
  readonly #watched = new LinkedList<Watching>();
  readonly #nowMs: () => number;
  #sweep: ReturnType<typeof setInterval> | undefined;

  /** @param nowMs Milliseconds since 1970. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Requests that are watched. */
  get size(): number {
    return this.#watched.size;
  }

  /**
   * Watches a request until {@link forget}, if its caller's grant can end.
   *
   * @returns `lost` when the grant has ended already: a list may have changed since the caller was identified.
   */
  watch(request: OpenRequest): Watching | "lost" | undefined {
    const grant = request.caller?.grant;
    if (!grant) return undefined;
    if (!grant.mayReach(request.cluster, this.#nowMs())) return "lost";
    const watching = new Watching(request);
    this.#watched.add(watching);
    // The timer runs only while somebody's token can expire.
    if (grant.expiresMs !== Infinity) this.#watchExpiry();
    return watching;
  }

  /** The request is over. */
  forget(watching: Watching | undefined): void {
    if (watching) this.#watched.remove(watching);
  }

  /** Looks at all of them: a list has changed. */
  review(): void {
    const now = this.#nowMs();
    for (const watching of this.#watched.toArray()) {
      isolated("request", () => this.#check(watching, now));
    }
  }

  /** Ends those whose tokens have expired; the timer calls it. */
  expire(): void {
    const now = this.#nowMs();
    let mayExpire = false;
    for (const watching of this.#watched.toArray()) {
      if (watching.request.caller?.grant?.expiresMs === Infinity) continue;
      mayExpire = true;
      isolated("request", () => this.#check(watching, now));
    }
    if (mayExpire) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #check(watching: Watching, nowMs: number): void {
    const { request } = watching;
    const grant = request.caller?.grant;
    if (grant?.mayReach(request.cluster, nowMs)) {
      // The new list may have given its token an end.
      if (grant.expiresMs !== Infinity) this.#watchExpiry();
      return;
    }
    if (!watching.isListed) return;
    this.#watched.remove(watching);
    request.revoke();
  }

  #watchExpiry(): void {
    this.#sweep ??= setInterval(() => this.expire(), sweepMs);
  }
}
