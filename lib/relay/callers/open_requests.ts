/** Open requests of callers whose grants can end. */
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

/** A request in the list. */
export class OpenRequestEntry extends Linked<OpenRequestEntry> {
  readonly request: OpenRequest;

  constructor(request: OpenRequest) {
    super();
    this.request = request;
  }
}

/** How often expiries are compared with the clock. A clock may jump, so no timer runs until one. */
const sweepMs = 1_000;

/** Breaks off requests whose caller's grant has ended: a watch or an exec has no end of its own. */
export class OpenRequests {
  readonly #entries = new LinkedList<OpenRequestEntry>();
  readonly #nowMs: () => number;
  #sweep: ReturnType<typeof setInterval> | undefined;

  /** @param nowMs Milliseconds since 1970. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Requests in the list. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Adds a request until {@link remove}, if its caller's grant can end.
   *
   * @returns `revoked` if the grant has ended already: a list may have changed since the caller was
   *   identified.
   */
  add(request: OpenRequest): OpenRequestEntry | "revoked" | undefined {
    const grant = request.caller?.grant;
    if (!grant) return undefined;
    if (!grant.mayReach(request.cluster, this.#nowMs())) return "revoked";
    const entry = new OpenRequestEntry(request);
    this.#entries.add(entry);
    // The timer runs only while somebody's token can expire.
    if (grant.expiresMs !== Infinity) this.#watchExpiry();
    return entry;
  }

  /** The request is over. */
  remove(entry: OpenRequestEntry | undefined): void {
    if (entry) this.#entries.remove(entry);
  }

  /** Looks at all of them: a list has changed. */
  review(): void {
    const now = this.#nowMs();
    for (const entry of this.#entries.toArray()) {
      isolated("request", () => this.#check(entry, now));
    }
  }

  /** Ends those whose tokens have expired; the timer calls it. */
  expire(): void {
    const now = this.#nowMs();
    let mayExpire = false;
    for (const entry of this.#entries.toArray()) {
      if (entry.request.caller?.grant?.expiresMs === Infinity) continue;
      mayExpire = true;
      isolated("request", () => this.#check(entry, now));
    }
    if (mayExpire) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #check(entry: OpenRequestEntry, nowMs: number): void {
    const { request } = entry;
    const grant = request.caller?.grant;
    if (grant?.mayReach(request.cluster, nowMs)) {
      // The new list may have given its token an end.
      if (grant.expiresMs !== Infinity) this.#watchExpiry();
      return;
    }
    if (!entry.isListed) return;
    this.#entries.remove(entry);
    request.revoke();
  }

  #watchExpiry(): void {
    this.#sweep ??= setInterval(() => this.expire(), sweepMs);
  }
}
