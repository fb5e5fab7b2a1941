/** Leader election by a Lease: of several replicas, only its holder acts. */
import type { Log } from "../log.ts";
import { messageOf } from "../message_of.ts";
import type { KubeClient } from "./client.ts";
import { delay } from "./delay.ts";
import { isConflict } from "./errors.ts";
import { type KubeObject, microTimeNow } from "./objects.ts";
import { leases } from "./resources.ts";

/** What an election runs with. */
export interface LeaderOptions {
  /** A client whose writes do not depend on the Lease. */
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique among replicas and their restarts. */
  readonly identity: string;
  readonly log: Log;
  /**
   * Does not wait for a holder to give the Lease back, but takes it once, and acts when that holder
   * must have stopped.
   */
  readonly takesOver?: boolean;
  readonly timing?: LeaderTiming;
}

/** The times of leader election; in client-go 15, 10 and 2 seconds. */
export interface LeaderTiming {
  /** How long others wait for a renewal before they take the Lease. */
  readonly leaseMs: number;
  /** How long after its last renewal the holder stops acting. */
  readonly renewDeadlineMs: number;
  readonly retryMs: number;
}

const defaultTiming: LeaderTiming = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000 };

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

/** Takes part in the election of one Lease. */
export class Leader {
  readonly #options: LeaderOptions;
  readonly #timing: LeaderTiming;
  /** When the last renewal that succeeded was begun. */
  #renewedMs = -Infinity;
  /** Whether the Lease may be taken from a holder that renews it. */
  #mayOust: boolean;
  /** Whether it was, from one that may not know yet. */
  #hasOusted = false;
  #reservedMs = 0;
  /** Who held the Lease when it was last read, if it was another. */
  #other: string | undefined;
  #seen: { readonly version: string; readonly atMs: number; readonly isFree: boolean } | undefined;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#mayOust = options.takesOver ?? false;
    this.#timing = options.timing ?? defaultTiming;
  }

  /**
   * Whether this replica may act now. It is asked before each write, so that one that was frozen
   * writes nothing after it has thawed.
   */
  get leads(): boolean {
    return performance.now() - this.#renewedMs < this.#timing.renewDeadlineMs;
  }

  /**
   * Takes part until the signal is aborted, and gives the Lease back then.
   *
   * @param act Runs while this replica leads; its signal is aborted when it does not any more.
   */
  async run(signal: AbortSignal, act: (signal: AbortSignal) => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      const isHeld = await this.#tryRenew();
      if (isHeld) await this.#lead(signal, act);
      else await delay(this.#timing.retryMs * (1 + Math.random() / 5), signal);
    }
  }

  async #lead(signal: AbortSignal, act: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { log, identity } = this.#options;
    await this.#untilOthersStopped(signal);
    if (signal.aborted) return await this.#release();
    if (!this.leads) return;
    log.info("Became the leader", { identity });
    const lost = new AbortController();
    const acting = act(lost.signal);
    while (!signal.aborted && this.leads) {
      await delay(this.#timing.retryMs, signal);
      if (signal.aborted) break;
      await this.#tryRenew();
    }
    lost.abort();
    await acting;
    if (signal.aborted) return await this.#release();
    if (this.#other === undefined) {
      log.warn("No longer the leader: the Lease was not renewed in time", { identity });
    } else {
      log.warn("No longer the leader: another holds the Lease", { identity, holder: this.#other });
    }
  }

  /** Reserves the Lease: after the end of {@link run}, others can't take it for `ms` milliseconds. */
  reserve(ms: number): void {
    this.#reservedMs = ms;
  }

  /** A holder that can't renew acts until its deadline. */
  async #untilOthersStopped(signal: AbortSignal): Promise<void> {
    if (!this.#hasOusted) return;
    const untilMs = performance.now() + this.#timing.renewDeadlineMs;
    while (!signal.aborted && performance.now() < untilMs) {
      await delay(Math.min(this.#timing.retryMs, untilMs - performance.now()), signal);
      await this.#tryRenew();
    }
    this.#hasOusted = false;
  }

  /** Creates, takes or renews the Lease; whether this replica holds it now. */
  async #tryRenew(): Promise<boolean> {
    const beganMs = performance.now();
    try {
      const lease = await this.#read();
      this.#other = lease && this.#isHeldByOther(lease) ? specOf(lease).holderIdentity : undefined;
      if (lease && !this.#mayTake(lease)) {
        this.#renewedMs = -Infinity;
        return false;
      }
      const written = await this.#write(lease, { heldMs: this.#timing.leaseMs });
      if (this.#mayOust) this.#hasOusted = lease !== undefined && this.#isHeldByOther(lease);
      // Once: who takes the Lease from this one may hold it.
      this.#mayOust = false;
      this.#note(written, false);
      this.#renewedMs = beganMs;
      return true;
    } catch (error) {
      if (!isConflict(error)) {
        this.#options.log.debug("Could not renew the Lease", { error: messageOf(error) });
      }
      return this.leads;
    }
  }

  async #read(): Promise<KubeObject | undefined> {
    const { client, namespace, name } = this.#options;
    return await client.find(leases, { namespace, name });
  }

  #mayTake(lease: KubeObject): boolean {
    if (specOf(lease).holderIdentity === this.#options.identity) return true;
    this.#note(lease, !this.#isHeldByOther(lease));
    const { atMs, isFree } = this.#seen!;
    // Clocks of machines differ: what counts is how long this one has seen no renewal.
    return isFree || this.#mayOust || performance.now() - atMs >= this.#heldMs(lease);
  }

  #isHeldByOther(lease: KubeObject): boolean {
    const { holderIdentity = "" } = specOf(lease);
    return holderIdentity !== "" && holderIdentity !== this.#options.identity;
  }

  /** A holder may ask for a longer time than is usual here. */
  #heldMs(lease: KubeObject): number {
    const { leaseMs } = this.#timing;
    const { leaseDurationSeconds = 0 } = specOf(lease);
    return leaseDurationSeconds > Math.ceil(leaseMs / 1_000)
      ? leaseDurationSeconds * 1_000
      : leaseMs;
  }

  #note(lease: KubeObject, isFree: boolean): void {
    const version = lease.metadata.resourceVersion ?? "";
    if (this.#seen?.version === version) return;
    this.#seen = { version, isFree, atMs: performance.now() };
  }

  async #write(
    lease: KubeObject | undefined,
    { heldMs }: { heldMs: number },
  ): Promise<KubeObject> {
    const { client, namespace, name, identity } = this.#options;
    const before = lease ? specOf(lease) : {};
    const now = microTimeNow();
    const isSame = before.holderIdentity === identity;
    const spec: LeaseSpec = {
      holderIdentity: heldMs > 0 ? identity : "",
      leaseDurationSeconds: Math.max(1, Math.ceil(heldMs / 1_000)),
      acquireTime: isSame ? before.acquireTime ?? now : now,
      renewTime: now,
      leaseTransitions: (before.leaseTransitions ?? 0) + (isSame || !lease ? 0 : 1),
    };
    if (!lease) return await client.create(leases, { metadata: { name, namespace }, spec });
    return await client.update(leases, { ...lease, spec });
  }

  async #release(): Promise<void> {
    try {
      const lease = await this.#read();
      if (lease && specOf(lease).holderIdentity === this.#options.identity) {
        await this.#write(lease, { heldMs: this.#reservedMs });
      }
    } catch (error) {
      this.#options.log.debug("Could not release the Lease", { error: messageOf(error) });
    }
    this.#renewedMs = -Infinity;
  }
}

function specOf(lease: KubeObject): LeaseSpec {
  return (lease["spec"] ?? {}) as LeaseSpec;
}
