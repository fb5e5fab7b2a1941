/** When metrics last changed, and why: what a status page shows and a counter can't. */

/** A limit that was met. */
export interface LimitHits {
  readonly count: number;
  readonly lastMs: number;
}

/** The last time that a part of the configuration was read. */
export interface Reload {
  readonly result: "loaded" | "applied" | "refused";
  readonly atMs: number;
  /** Why it was refused. */
  readonly reason?: string | undefined;
}

/** All times are milliseconds since 1970. */
export class MetricHistory {
  readonly #nowMs: () => number;
  readonly #limits = new Map<string, LimitHits>();
  readonly #reloads = new Map<string, Reload>();
  readonly #certificates = new Map<string, number>();

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs;
  }

  /** The last hits of each limit, by its option: no more than there are options. */
  get limits(): ReadonlyMap<string, LimitHits> {
    return this.#limits;
  }

  /** The last reload of each source. */
  get reloads(): ReadonlyMap<string, Reload> {
    return this.#reloads;
  }

  /** When each certificate expires, by its option. */
  get certificates(): ReadonlyMap<string, number> {
    return this.#certificates;
  }

  limitHit(limit: string): void {
    const count = (this.#limits.get(limit)?.count ?? 0) + 1;
    this.#limits.set(limit, { count, lastMs: this.#nowMs() });
  }

  reloaded(source: string, result: Reload["result"], reason?: string): void {
    this.#reloads.set(source, { result, atMs: this.#nowMs(), reason });
  }

  certificateExpires(option: string, atMs: number): void {
    this.#certificates.set(option, atMs);
  }

  certificateGone(option: string): void {
    this.#certificates.delete(option);
  }
}
