/**
 * A directory in a Redis that all relays share.
 *
 * Each relay has one key that expires within seconds unless it is renewed, so a relay's death takes
 * all its leases with it, and to be alive costs one small write every few seconds however many
 * sessions there are. The leases themselves, a hash for each cluster, are written when a session
 * begins and ends, and again every 20 minutes, a few at a time, so that what a store has lost comes
 * back.
 *
 * Times in leases are on the store's clock (`SharedClock`), which tells the newer of two claims
 * however far the relays' own clocks are apart. Releases before this one wrote their own clock's, so
 * beside such a relay the order is as good as their clocks.
 */
import { messageOf } from "../../message_of.ts";
import {
  type Claim,
  type Directory,
  DirectoryError,
  type DirectoryEvents,
  type Holder,
} from "./directory.ts";
import {
  holdersOf,
  isSameConnection,
  type Lease,
  leaseSchema,
  parseRecord,
  relaySchema,
} from "./lease_record.ts";
import { LeaseRenewal } from "./lease_renewal.ts";
import { SharedClock } from "./shared_clock.ts";
import type { Store } from "./store.ts";
import { isWrongServer } from "./store_error.ts";

/** How a directory is set up. */
export interface SharedDirectoryOptions {
  store: Store;
  /** Names this process: random. */
  relay: string;
  events: DirectoryEvents;
  timing?: DirectoryTiming;
  /** This process's clock, in milliseconds since 1970, which claims' times are on. */
  nowMs?: () => number;
}

/** All in milliseconds. */
export interface DirectoryTiming {
  /** Between two signs of life. */
  heartbeatMs: number;
  /** After which a relay without a sign of life counts as gone: three heartbeats. */
  aliveMs: number;
  /** For the store to answer. */
  replyMs: number;
  /** Within which each lease is written again. */
  renewalMs: number;
  /** After which a lease that nobody writes again is dropped: three renewals. */
  leaseMs: number;
  /** For which a cluster whose lease was taken back counts as on its way to another relay. */
  movingMs: number;
}

/** The timing unless told otherwise. */
export const defaultTiming: DirectoryTiming = {
  heartbeatMs: 5_000,
  aliveMs: 15_000,
  replyMs: 1_000,
  renewalMs: 20 * 60_000,
  leaseMs: 60 * 60_000,
  movingMs: 5_000,
};

/** A claim and where it is written. */
interface Written {
  readonly claim: Claim;
  readonly number: number;
  /** Whether the store has taken it, as far as this relay knows. */
  isStored: boolean;
}

/** Replies in a row that fail before the directory counts as away; one heartbeat alone is enough. */
const maxFailures = 3;

/** Reasons that are told while it is away: the first is often what the one that matters did to a connection. */
const maxAwayReasons = 5;

/** Removals that are remembered while the store is away; the rest is left to expire. */
const maxPendingRemovals = 10_000;
/** Leases that are written in one go. */
const batchSize = 500;

/** A {@link Directory} in a {@link Store}. */
export class SharedDirectory implements Directory {
  readonly #store: Store;
  readonly #relay: string;
  #record = "";
  /** Whether the relays speak TLS with each other: all of them do, or none. */
  #isTls = false;
  readonly #events: DirectoryEvents;
  readonly #timing: DirectoryTiming;
  readonly #clock: SharedClock;
  readonly #claims = new Map<Claim, Written>();
  readonly #removals: Written[] = [];
  /** Changes that are on their way to the store; none of them rejects. */
  readonly #changes = new Set<Promise<void>>();
  /** Heartbeats that are under way: one, as a rule. */
  readonly #beats = new Set<Promise<void>>();
  #lastNumber = 0;
  readonly #renewal: LeaseRenewal<Written>;
  #timer: ReturnType<typeof setInterval> | undefined;
  #isUp = false;
  #isSettled = false;
  /** What has been said of why it is away since it was last up. */
  readonly #awayReasons = new Set<string>();
  #isBeating = false;
  /** Replies that failed since the last one that did not. */
  #failures = 0;
  /** A connection was made since the leases were last known to be there. */
  #isNewConnection = true;
  #isConnected = false;
  /** When a connection was last given up. */
  #reconnectedMs = -Infinity;
  /** The store does not tell the time, which has been said. */
  #isClockMissed = false;
  /** The next heartbeat is to make a new connection. */
  #mustReconnect = false;
  /** Nothing of ours is written any more. */
  #isWithdrawn = false;
  #isClosed = false;

  constructor({ store, relay, events, timing = defaultTiming, nowMs }: SharedDirectoryOptions) {
    this.#clock = new SharedClock(nowMs);
    this.#store = store;
    this.#relay = relay;
    this.#events = events;
    this.#timing = timing;
    this.#renewal = new LeaseRenewal(timing);
  }

  open(url: string): void {
    this.#record = JSON.stringify({ url });
    this.#isTls = url.startsWith("https:");
    this.#store.onReady = () => {
      this.#isNewConnection = this.#isConnected = true;
      this.#startBeat();
    };
    this.#store.onError = (reason) => {
      this.#isConnected = false;
      this.#away(reason);
    };
    this.#timer = setInterval(() => {
      if (this.#mustReconnect) this.#reconnect();
      else this.#startBeat();
    }, this.#timing.heartbeatMs);
    this.#store.open();
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  claim(claim: Claim): void {
    if (this.#isWithdrawn || this.#claims.has(claim)) return;
    const written = { claim, number: ++this.#lastNumber, isStored: false };
    this.#claims.set(claim, written);
    // While the store is away there is nothing to write to; all is written when it is back.
    if (this.#isUp) this.#attempt(this.#write(written));
  }

  withdraw(claim: Claim): void {
    const written = this.#claims.get(claim);
    if (!written) return;
    this.#claims.delete(claim);
    if (this.#isUp) this.#attempt(this.#takeBack(written));
    else this.#rememberRemoval(written);
  }

  async find(cluster: string): Promise<readonly Holder[]> {
    if (!this.#isUp) throw new DirectoryError("The directory is away");
    try {
      return await this.#find(cluster);
    } catch (error) {
      this.#failed(error);
      throw new DirectoryError(messageOf(error), { cause: error });
    }
  }

  async isMoving(cluster: string): Promise<boolean> {
    if (!this.#isUp) throw new DirectoryError("The directory is away");
    try {
      return await this.#read(["GET", await movingKey(cluster)]) !== null;
    } catch (error) {
      this.#failed(error);
      throw new DirectoryError(messageOf(error), { cause: error });
    }
  }

  async withdrawAll(): Promise<void> {
    if (this.#isWithdrawn) return;
    this.#isWithdrawn = true;
    const claims = [...this.#claims.values()];
    this.#claims.clear();
    if (!this.#isUp) return;
    try {
      // Others that have never asked for a cluster must not take it for one that nobody serves.
      await inBatches(claims, (written) => this.#leave(written));
      // Among them are those of sessions that were asked to go elsewhere before.
      await Promise.all(this.#changes);
      // Without its relay no lease counts any more; what follows only tidies up.
      await this.#send(["DEL", relayKey(this.#relay)]);
      await inBatches(claims, (written) => this.#remove(written));
    } catch (error) {
      this.#failed(error); // What is left expires.
    }
  }

  async close(): Promise<void> {
    this.#isWithdrawn = true;
    this.#isClosed = true;
    this.#isUp = false;
    clearInterval(this.#timer);
    this.#store.close();
    await Promise.all([...this.#changes, ...this.#beats]);
  }

  async #find(cluster: string): Promise<readonly Holder[]> {
    const leases = await this.#leases(await clusterKey(cluster));
    const others = leases.filter(({ relay }) => relay !== this.#relay);
    const relays = [...new Set(others.map(({ relay }) => relay))];
    const replies = await Promise.all(relays.map((relay) => this.#read(["GET", relayKey(relay)])));
    const urls = new Map<string, string>();
    for (const [index, relay] of relays.entries()) {
      const reply = replies[index];
      if (reply === null) continue;
      const record = parseRecord(relaySchema, reply);
      // Who can write here must not get requests, and the relays' token, in the clear.
      const isAsSafe = record && (!this.#isTls || record.url.startsWith("https:"));
      if (isAsSafe) urls.set(relay, record.url);
      else this.#events.invalid("a relay's record");
    }
    for (const { relay, instance, slot, sinceMs: sharedMs } of others) {
      if (!urls.has(relay)) continue;
      const sinceMs = this.#clock.toOwn(sharedMs);
      this.#events.heldElsewhere({ cluster, instance, slot, sinceMs });
    }
    return holdersOf(others, urls);
  }

  /** The leases of a cluster, of relays that are gone too. */
  async #leases(key: string): Promise<Lease[]> {
    const values = await this.#read(["HVALS", key]);
    if (values === null) return [];
    if (!Array.isArray(values)) throw new DirectoryError("HVALS did not reply with a list");
    const leases = values.map((value) => parseRecord(leaseSchema, value));
    if (leases.includes(undefined)) this.#events.invalid("a lease");
    return leases.filter((lease) => lease !== undefined);
  }

  #startBeat(): void {
    const beat = this.#beat().finally(() => this.#beats.delete(beat));
    this.#beats.add(beat);
  }

  /** Sign of life; learns from the reply whether the store still knows us. */
  async #beat(): Promise<void> {
    if (this.#isBeating || this.#isClosed) return;
    this.#isBeating = true;
    try {
      const key = relayKey(this.#relay);
      const [known, hasJumped] = await Promise.all([this.#read(["GET", key]), this.#readClock()]);
      if (this.#isWithdrawn) {
        this.#isUp = !this.#isClosed;
        return;
      }
      await this.#send(["SET", key, this.#record, "PX", String(this.#timing.aliveMs)]);
      if (this.#isWithdrawn) {
        await this.#send(["DEL", key]);
        return;
      }
      if (known === null || hasJumped) {
        for (const lease of this.#claims.values()) lease.isStored = false;
      }
      if (known === null || !this.#isUp || this.#isNewConnection) await this.#restore();
      else await this.#renewLeases();
    } catch (error) {
      this.#failed(error);
      this.#away(messageOf(error));
      // A line that was cut without a word would stay so for as long as TCP has patience, and one on
      // which the server never says hello for ever.
      if (error instanceof DirectoryError || !this.#isConnected) this.#reconnect();
    } finally {
      this.#isBeating = false;
    }
  }

  /** @returns whether the store's clock does not compare any more with what was written before. */
  async #readClock(): Promise<boolean> {
    const askedMs = this.#clock.nowMs();
    try {
      return this.#clock.read(await this.#send(["TIME"]), askedMs);
    } catch (error) {
      const reason = messageOf(error);
      if (!/^(NOPERM|ERR)\b/.test(reason)) throw error;
      // It may be forbidden to ask, or unknown there; then the relays' own clocks have to do.
      if (!this.#isClockMissed) this.#events.invalid(`its answer to TIME: ${reason}`);
      this.#isClockMissed = true;
      return false;
    }
  }

  /** The store was away, or is new, or believed us gone: writes what it does not have. */
  async #restore(): Promise<void> {
    const wasUp = this.#isUp;
    // From now on each change writes itself.
    this.#isUp = true;
    const isNewConnection = this.#isNewConnection;
    // One that is made from here on is looked at after this.
    this.#isNewConnection = false;
    try {
      if (isNewConnection) await this.#lookForLost();
      await this.#catchUp();
    } catch (error) {
      this.#isNewConnection ||= isNewConnection;
      throw error;
    }
    this.#mustReconnect = false;
    this.#awayReasons.clear();
    this.#isSettled = true;
    if (!wasUp || !isNewConnection) this.#events.back(this.#claims.size);
  }

  /** Behind a new connection may be a server that lacks what was written last. */
  async #lookForLost(): Promise<void> {
    const stored = [...this.#claims.values()].filter(({ isStored }) => isStored);
    await inBatches(stored, async (written) => {
      const key = await clusterKey(written.claim.cluster);
      const field = fieldOf({ relay: this.#relay, number: written.number });
      if (Number(await this.#read(["HEXISTS", key, field])) !== 1) written.isStored = false;
    });
  }

  /** Makes up for changes that the store has not taken. */
  async #catchUp(): Promise<void> {
    const removals = [...this.#removals];
    await inBatches(removals, (written) => this.#remove(written));
    this.#removals.splice(0, removals.length);
    const missing = [...this.#claims.values()].filter(({ isStored }) => !isStored);
    await inBatches(missing, (written) => this.#write(written));
  }

  async #renewLeases(): Promise<void> {
    await this.#catchUp();
    await inBatches(this.#renewal.due(this.#claims), (written) => this.#write(written));
  }

  async #write(written: Written): Promise<void> {
    const { claim: { cluster, instance, slot, sinceMs }, number } = written;
    const key = await clusterKey(cluster);
    if (this.#claims.get(written.claim) !== written) return;
    const lease: Lease = {
      relay: this.#relay,
      number,
      ...(instance === undefined ? {} : { instance }),
      slot,
      sinceMs: this.#clock.toShared(sinceMs),
      renewedMs: this.#clock.toShared(this.#clock.nowMs()),
    };
    const [, , leases] = await Promise.all([
      this.#read(["HSET", key, fieldOf(lease), JSON.stringify(lease)]),
      this.#send(["PEXPIRE", key, String(this.#timing.leaseMs)]),
      this.#leases(key),
    ]);
    written.isStored = true;
    const expiredMs = lease.renewedMs - this.#timing.leaseMs;
    const obsolete = leases.filter((other) =>
      other.relay !== this.#relay &&
      (other.renewedMs < expiredMs ||
        (isSameConnection(lease, other) && other.sinceMs < lease.sinceMs))
    );
    if (obsolete.length > 0) await this.#send(["HDEL", key, ...obsolete.map(fieldOf)]);
  }

  async #takeBack(written: Written): Promise<void> {
    try {
      await this.#leave(written);
      await this.#remove(written);
    } catch (error) {
      this.#rememberRemoval(written);
      throw error;
    }
  }

  /** Leaves word that a session was here a moment ago. */
  async #leave(written: Written): Promise<void> {
    const key = await movingKey(written.claim.cluster);
    await this.#send(["SET", key, "1", "PX", String(this.#timing.movingMs)]);
  }

  async #remove(written: Written): Promise<void> {
    const key = await clusterKey(written.claim.cluster);
    await this.#read(["HDEL", key, fieldOf({ relay: this.#relay, number: written.number })]);
  }

  #rememberRemoval(written: Written): void {
    if (this.#removals.length < maxPendingRemovals) this.#removals.push(written);
  }

  /** A change that nobody waits for: when it fails, the next heartbeat makes up for it. */
  #attempt(change: Promise<void>): void {
    const settled = change.catch((error) => this.#failed(error))
      .finally(() => this.#changes.delete(settled));
    this.#changes.add(settled);
  }

  /** As `send`, for a key that may be of another type than ours: what it holds counts as nothing. */
  async #read(command: readonly string[]): Promise<unknown> {
    try {
      return await this.#send(command);
    } catch (error) {
      if (!messageOf(error).startsWith("WRONGTYPE")) throw error;
      this.#events.invalid("a key of another type");
      return null;
    }
  }

  /** Sends a command, and waits for its reply only so long. */
  async #send(command: readonly string[]): Promise<unknown> {
    const { replyMs } = this.#timing;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(new DirectoryError(`No reply within ${replyMs} ms`)),
      replyMs,
    );
    try {
      const reply = await Promise.race([this.#store.send(command), late.promise]);
      this.#failures = 0;
      return reply;
    } finally {
      clearTimeout(timer);
    }
  }

  /** One reply failed, which says little; that the server is the wrong one, or several did, says more. */
  #failed(error: unknown): void {
    const reason = messageOf(error);
    this.#events.failed();
    this.#failures++;
    if (isWrongServer(reason)) {
      this.#away(reason);
      this.#reconnect();
    } else if (this.#failures >= maxFailures) this.#away(reason);
  }

  /** Makes a new connection, now or, when the last one is as young as that, with the next heartbeat. */
  #reconnect(): void {
    if (this.#isClosed) return;
    const nowMs = performance.now();
    this.#mustReconnect = nowMs - this.#reconnectedMs < this.#timing.heartbeatMs / 2;
    if (this.#mustReconnect) return;
    this.#reconnectedMs = nowMs;
    this.#isConnected = false;
    this.#store.reconnect();
  }

  #away(reason: string): void {
    this.#isUp = false;
    this.#isSettled = true;
    const isTold = this.#awayReasons.has(reason) || this.#awayReasons.size >= maxAwayReasons;
    if (isTold || this.#isClosed) return;
    this.#awayReasons.add(reason);
    this.#events.away(reason);
  }
}

/** Where a relay says that it is alive. */
export function relayKey(relay: string): string {
  return `culvert:relay:${relay}`;
}

async function clusterKey(cluster: string): Promise<string> {
  return `culvert:cluster:${await digestOf(cluster)}`;
}

async function movingKey(cluster: string): Promise<string> {
  return `culvert:moving:${await digestOf(cluster)}`;
}

/** Clusters' names are for those who may ask for them, not for everybody who can list keys. */
async function digestOf(cluster: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(cluster));
  return new Uint8Array(digest).toHex();
}

function fieldOf({ relay, number }: Pick<Lease, "relay" | "number">): string {
  return `${relay}/${number}`;
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += batchSize) {
    await Promise.all(items.slice(at, at + batchSize).map(work));
  }
}
