/** The latest requests of the services that keep them: who asked for what, and what came of it. */
import type { RequestStatus } from "../../domain/status.ts";
import type { Service } from "../../domain/service.ts";

/** Requests of one service: the oldest makes room. */
class Ring {
  #size: number;
  readonly #requests: RequestStatus[] = [];
  /** Where the next one goes. */
  #next = 0;

  constructor(size: number) {
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  add(request: RequestStatus): void {
    this.#requests[this.#next] = request;
    this.#next = (this.#next + 1) % this.#size;
  }

  /** The newest first. */
  get requests(): RequestStatus[] {
    const { length } = this.#requests;
    return this.#requests.map((_, index) =>
      this.#requests[(this.#next - 1 - index + 2 * length) % length]!
    );
  }

  /** The same requests in a ring of another size. */
  resized(size: number): Ring {
    const other = new Ring(size);
    for (const request of this.requests.slice(0, size).reverse()) other.add(request);
    return other;
  }
}

/** All of them, in memory. */
export class RecentRequests {
  readonly #rings = new Map<string, Ring>();

  /** Uses other services: what is kept of those that are gone, or keep nothing any more, goes. */
  useServices(services: readonly Service[]): void {
    const sizes = new Map(
      services.map(({ name, recentRequests = 0 }) => [name, recentRequests] as const),
    );
    for (const [name, ring] of this.#rings) {
      const size = sizes.get(name) ?? 0;
      if (size === 0) this.#rings.delete(name);
      else if (size !== ring.size) this.#rings.set(name, ring.resized(size));
    }
    for (const [name, size] of sizes) {
      if (size > 0 && !this.#rings.has(name)) this.#rings.set(name, new Ring(size));
    }
  }

  /** Whether requests of a service are kept. */
  keeps(service: string): boolean {
    return this.#rings.has(service);
  }

  /** Keeps one, if its service keeps any. */
  add(service: string, request: RequestStatus): void {
    this.#rings.get(service)?.add(request);
  }

  /** The newest first. */
  get all(): RequestStatus[] {
    return [...this.#rings.values()].flatMap((ring) => ring.requests)
      .sort((one, other) => other.atMs - one.atMs);
  }
}
