/** This relay's leases in the shared store: written, renewed, taken back. */
import type { Claim } from "./directory.ts";
import type { DirectoryTiming } from "./directory_timing.ts";
import { isSameConnection, type Lease } from "./lease_record.ts";
import { LeaseRenewal } from "./lease_renewal.ts";
import type { SharedClock } from "./shared_clock.ts";
import { clusterKey, leaseField, movingKey } from "./store_keys.ts";
import type { StoreLink } from "./store_link.ts";
import type { StoredLeases } from "./stored_leases.ts";

/** What they need. */
export interface OwnLeasesOptions {
  readonly link: StoreLink;
  readonly stored: StoredLeases;
  readonly clock: SharedClock;
  readonly relay: string;
  readonly timing: DirectoryTiming;
}

/** A claim and where it is written. */
interface Written {
  readonly claim: Claim;
  readonly number: number;
  /** Whether the store has taken it, as far as this relay knows. */
  isStored: boolean;
}

/** Removals that are remembered while the store is away; the rest is left to expire. */
const maxPendingRemovals = 10_000;
/** Leases that are written in one go. */
const batchSize = 500;

/** The claims of one relay, and what the store has of them. */
export class OwnLeases {
  readonly #options: OwnLeasesOptions;
  readonly #claims = new Map<Claim, Written>();
  readonly #removals: Written[] = [];
  /** Changes that are on their way to the store; none of them rejects. */
  readonly #changes = new Set<Promise<void>>();
  readonly #renewal: LeaseRenewal<Written>;
  #lastNumber = 0;

  constructor(options: OwnLeasesOptions) {
    this.#options = options;
    this.#renewal = new LeaseRenewal(options.timing);
  }

  /** How many there are. */
  get size(): number {
    return this.#claims.size;
  }

  /** Writes a lease for a claim; a claim that has one changes nothing. */
  add(claim: Claim): void {
    if (this.#claims.has(claim)) return;
    const written = { claim, number: ++this.#lastNumber, isStored: false };
    this.#claims.set(claim, written);
    // While the store is away there is nothing to write to; all is written when it is back.
    if (this.#options.link.isUp) this.#attempt(this.#write(written));
  }

  /** Takes the lease of a claim back; a claim without one changes nothing. */
  remove(claim: Claim): void {
    const written = this.#claims.get(claim);
    if (!written) return;
    this.#claims.delete(claim);
    if (this.#options.link.isUp) this.#attempt(this.#takeBack(written));
    else this.#rememberRemoval(written);
  }

  /** Takes all of them back. @param leave ends the relay itself, once all of them are said to move */
  async removeAll(leave: () => Promise<unknown>): Promise<void> {
    const claims = [...this.#claims.values()];
    this.#claims.clear();
    if (!this.#options.link.isUp) return;
    // Others that have never asked for a cluster must not take it for one that nobody serves.
    await inBatches(claims, (written) => this.#markMoving(written));
    // Among them are those of sessions that were asked to go elsewhere before.
    await this.changed();
    await leave();
    await inBatches(claims, (written) => this.#delete(written));
  }

  /** Resolves when no change is on its way any more. */
  async changed(): Promise<void> {
    await Promise.all(this.#changes);
  }

  /** The store lacks all of them, or has times that do not compare any more. */
  doubtAll(): void {
    for (const written of this.#claims.values()) written.isStored = false;
  }

  /** Behind a new connection may be a server that lacks what was written last. */
  async lookForLost(): Promise<void> {
    const { link, relay } = this.#options;
    const stored = [...this.#claims.values()].filter(({ isStored }) => isStored);
    await inBatches(stored, async (written) => {
      const key = await clusterKey(written.claim.cluster);
      const field = leaseField({ relay, number: written.number });
      if (Number(await link.read(["HEXISTS", key, field])) !== 1) written.isStored = false;
    });
  }

  /** Makes up for changes that the store has not taken. */
  async catchUp(): Promise<void> {
    const removals = [...this.#removals];
    await inBatches(removals, (written) => this.#delete(written));
    this.#removals.splice(0, removals.length);
    const missing = [...this.#claims.values()].filter(({ isStored }) => !isStored);
    await inBatches(missing, (written) => this.#write(written));
  }

  /** Writes again what is due with this heartbeat. */
  async renew(): Promise<void> {
    await this.catchUp();
    await inBatches(this.#renewal.due(this.#claims), (written) => this.#write(written));
  }

  async #write(written: Written): Promise<void> {
    const { link, stored, timing } = this.#options;
    const key = await clusterKey(written.claim.cluster);
    if (this.#claims.get(written.claim) !== written) return;
    const lease = this.#leaseOf(written);
    const [, , leases] = await Promise.all([
      link.read(["HSET", key, leaseField(lease), JSON.stringify(lease)]),
      link.send(["PEXPIRE", key, String(timing.leaseMs)]),
      stored.at(key),
    ]);
    written.isStored = true;
    const obsolete = leases.filter((other) => this.#isObsolete(other, lease));
    if (obsolete.length > 0) await link.send(["HDEL", key, ...obsolete.map(leaseField)]);
  }

  #leaseOf({ claim: { instance, slot, sinceMs }, number }: Written): Lease {
    const { clock, relay } = this.#options;
    return {
      relay,
      number,
      ...(instance === undefined ? {} : { instance }),
      slot,
      sinceMs: clock.toShared(sinceMs),
      renewedMs: clock.toShared(clock.nowMs()),
    };
  }

  /** Whether nobody writes another relay's lease any more, or its connection has come here. */
  #isObsolete(other: Lease, own: Lease): boolean {
    if (other.relay === own.relay) return false;
    if (other.renewedMs < own.renewedMs - this.#options.timing.leaseMs) return true;
    return isSameConnection(own, other) && other.sinceMs < own.sinceMs;
  }

  async #takeBack(written: Written): Promise<void> {
    try {
      await this.#markMoving(written);
      await this.#delete(written);
    } catch (error) {
      this.#rememberRemoval(written);
      throw error;
    }
  }

  /** Leaves word that a session was here a moment ago. */
  async #markMoving({ claim }: Written): Promise<void> {
    const { link, timing } = this.#options;
    const key = await movingKey(claim.cluster);
    await link.send(["SET", key, "1", "PX", String(timing.movingMs)]);
  }

  async #delete({ claim, number }: Written): Promise<void> {
    const { link, relay } = this.#options;
    const key = await clusterKey(claim.cluster);
    await link.read(["HDEL", key, leaseField({ relay, number })]);
  }

  #rememberRemoval(written: Written): void {
    if (this.#removals.length < maxPendingRemovals) this.#removals.push(written);
  }

  /** A change that nobody waits for: when it fails, the next heartbeat makes up for it. */
  #attempt(change: Promise<void>): void {
    const settled = change.catch((error) => this.#options.link.failed(error))
      .finally(() => this.#changes.delete(settled));
    this.#changes.add(settled);
  }
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += batchSize) {
    await Promise.all(items.slice(at, at + batchSize).map(work));
  }
}
