/** A queue of keys to reconcile: each runs once at a time, and is retried with backoff. */
import { jitteredMs } from "./delay.ts";
import { FairKeys } from "./fair_keys.ts";

/** What a queue runs with. */
export interface WorkQueueOptions {
  /** Works on a key. @returns milliseconds until it is due again; undefined for never */
  readonly work: (key: string) => Promise<number | undefined>;
  /** Called when a key's work threw. @returns whether a retry is useless until something changes */
  readonly failed: (key: string, error: unknown) => boolean;
  /** Keys that are worked on at once. */
  readonly workers?: number;
  /** Keys whose work may be slow together: they share {@link workersPerGroup}. Without it, all do. */
  readonly groupOf?: (key: string) => string;
  /** Keys of one group that are worked on at once. */
  readonly workersPerGroup?: number;
  readonly firstBackoffMs?: number;
  readonly maxBackoffMs?: number;
}

const defaultWorkers = 32;
const defaultWorkersPerGroup = 4;
const defaultFirstBackoffMs = 250;
const defaultMaxBackoffMs = 16 * 60_000;

/**
 * Deduplicates keys. A key that is added while it is worked on is worked on once more afterwards.
 * Bounded by the number of different keys: those of objects that are there. Work that waits for a peer
 * without an answer slows only its own group.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #ready: FairKeys;
  readonly #running = new Set<string>();
  readonly #again = new Set<string>();
  readonly #timers = new Map<string, { timer: ReturnType<typeof setTimeout>; atMs: number }>();
  readonly #failures = new Map<string, number>();
  #idle = Promise.withResolvers<void>();
  #isStopped = true;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#ready = new FairKeys({
      groupOf: options.groupOf ?? (() => ""),
      maxPerGroup: options.workersPerGroup ?? defaultWorkersPerGroup,
    });
  }

  /** Keys that wait for a worker. */
  get depth(): number {
    return this.#ready.size;
  }

  /** Those of them that wait because their group has its share of the workers. */
  get heldBack(): number {
    return this.#ready.heldBack;
  }

  /** Whether nothing is worked on or could be now; timers may be running. */
  get isIdle(): boolean {
    return this.#ready.size === 0 && this.#running.size === 0;
  }

  /** Starts the workers. */
  start(): void {
    this.#isStopped = false;
    this.#next();
  }

  /** Starts no more work, drops what is queued, and resolves when running work is done. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const { timer } of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#ready.clear();
    this.#again.clear();
    this.#failures.clear();
    if (this.#running.size > 0) await this.#idle.promise;
  }

  /** Queues a key at once. */
  add(key: string): void {
    this.#cancel(key);
    if (this.#running.has(key)) this.#again.add(key);
    else this.#ready.add(key);
    this.#next();
  }

  /** Queues a key after `ms` milliseconds, unless it is due earlier already. */
  addAfter(key: string, ms: number): void {
    const atMs = performance.now() + ms;
    const planned = this.#timers.get(key);
    if (planned && planned.atMs <= atMs) return;
    this.#cancel(key);
    const timer = setTimeout(() => {
      this.#timers.delete(key);
      this.add(key);
    }, ms);
    this.#timers.set(key, { timer, atMs });
  }

  #cancel(key: string): void {
    const planned = this.#timers.get(key);
    if (!planned) return;
    clearTimeout(planned.timer);
    this.#timers.delete(key);
  }

  #next(): void {
    const max = this.#options.workers ?? defaultWorkers;
    while (!this.#isStopped && this.#running.size < max) {
      const key = this.#ready.take();
      if (key === undefined) return;
      this.#running.add(key);
      void this.#run(key);
    }
  }

  async #run(key: string): Promise<void> {
    try {
      const again = await this.#options.work(key);
      this.#failures.delete(key);
      if (again !== undefined && !this.#isStopped) this.addAfter(key, again);
    } catch (error) {
      const isPermanent = this.#options.failed(key, error);
      if (!isPermanent && !this.#isStopped) this.#retry(key);
    } finally {
      this.#running.delete(key);
      this.#ready.done(key);
      if (this.#again.delete(key) && !this.#isStopped) this.#ready.add(key);
      if (this.#running.size === 0) {
        this.#idle.resolve();
        this.#idle = Promise.withResolvers();
      }
      this.#next();
    }
  }

  #retry(key: string): void {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    this.addAfter(
      key,
      jitteredMs(failures, {
        firstMs: this.#options.firstBackoffMs ?? defaultFirstBackoffMs,
        maxMs: this.#options.maxBackoffMs ?? defaultMaxBackoffMs,
      }),
    );
  }
}
