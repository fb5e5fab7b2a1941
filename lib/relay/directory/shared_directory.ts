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
import { defaultTiming, type DirectoryTiming } from "./directory_timing.ts";
import { OwnLeases } from "./own_leases.ts";
import { SharedClock } from "./shared_clock.ts";
import type { Store } from "./store.ts";
import { movingKey, relayKey } from "./store_keys.ts";
import { StoreLink } from "./store_link.ts";
import { StoredLeases } from "./stored_leases.ts";

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

/** A {@link Directory} in a {@link Store}. */
export class SharedDirectory implements Directory {
  /** Where this relay says that it is alive. */
  readonly #key: string;
  #record = "";
  readonly #events: DirectoryEvents;
  readonly #timing: DirectoryTiming;
  readonly #clock: SharedClock;
  readonly #link: StoreLink;
  readonly #stored: StoredLeases;
  readonly #own: OwnLeases;
  /** Heartbeats that are under way: one, as a rule. */
  readonly #beats = new Set<Promise<void>>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #isBeating = false;
  /** The store does not tell the time, which has been said. */
  #isClockMissed = false;
  /** Nothing of ours is written any more. */
  #isWithdrawn = false;
  #isClosed = false;

  constructor({ store, relay, events, timing = defaultTiming, nowMs }: SharedDirectoryOptions) {
    const clock = this.#clock = new SharedClock(nowMs);
    const link = this.#link = new StoreLink({ store, events, timing });
    const stored = this.#stored = new StoredLeases({ link, clock, relay, events });
    this.#own = new OwnLeases({ link, stored, clock, relay, timing });
    this.#key = relayKey(relay);
    this.#events = events;
    this.#timing = timing;
  }

  open(url: string): void {
    this.#record = JSON.stringify({ url });
    this.#stored.isTls = url.startsWith("https:");
    this.#timer = setInterval(() => {
      if (this.#link.mustReconnect) this.#link.reconnect();
      else this.#startBeat();
    }, this.#timing.heartbeatMs);
    this.#link.open(() => this.#startBeat());
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  get isSettled(): boolean {
    return this.#link.isSettled;
  }

  claim(claim: Claim): void {
    if (!this.#isWithdrawn) this.#own.add(claim);
  }

  withdraw(claim: Claim): void {
    this.#own.remove(claim);
  }

  async find(cluster: string): Promise<readonly Holder[]> {
    return await this.#asked(() => this.#stored.holders(cluster));
  }

  async isMoving(cluster: string): Promise<boolean> {
    return await this.#asked(async () =>
      await this.#link.read(["GET", await movingKey(cluster)]) !== null
    );
  }

  async #asked<T>(question: () => Promise<T>): Promise<T> {
    if (!this.isUp) throw new DirectoryError("The directory is unavailable");
    try {
      return await question();
    } catch (error) {
      this.#link.failed(error);
      throw new DirectoryError(messageOf(error), { cause: error });
    }
  }

  async withdrawAll(): Promise<void> {
    if (this.#isWithdrawn) return;
    this.#isWithdrawn = true;
    try {
      // Without its relay no lease counts any more; what follows only tidies up.
      await this.#own.removeAll(() => this.#link.send(["DEL", this.#key]));
    } catch (error) {
      this.#link.failed(error); // What is left expires.
    }
  }

  async close(): Promise<void> {
    this.#isWithdrawn = true;
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#link.close();
    await Promise.all([this.#own.changed(), ...this.#beats]);
  }

  #startBeat(): void {
    const beat = this.#beat().finally(() => this.#beats.delete(beat));
    this.#beats.add(beat);
  }

  async #beat(): Promise<void> {
    if (this.#isBeating || this.#isClosed) return;
    this.#isBeating = true;
    try {
      await this.#signOfLife();
    } catch (error) {
      this.#link.beatFailed(error);
    } finally {
      this.#isBeating = false;
    }
  }

  /** Learns from the reply whether the store still knows us. */
  async #signOfLife(): Promise<void> {
    const key = this.#key;
    const link = this.#link;
    const [known, hasJumped] = await Promise.all([link.read(["GET", key]), this.#readClock()]);
    if (this.#isWithdrawn) return link.begin();
    await link.send(["SET", key, this.#record, "PX", String(this.#timing.aliveMs)]);
    if (this.#isWithdrawn) return void await link.send(["DEL", key]);
    if (known === null || hasJumped) this.#own.doubtAll();
    if (known === null || !link.isUp || link.isNewConnection) await this.#restore();
    else await this.#own.renew();
  }

  /** @returns whether the store's clock does not compare any more with what was written before. */
  async #readClock(): Promise<boolean> {
    const askedMs = this.#clock.nowMs();
    try {
      return this.#clock.read(await this.#link.send(["TIME"]), askedMs);
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
    const { isUp: wasUp, isNewConnection } = this.#link;
    // From now on each change writes itself.
    this.#link.begin();
    await this.#link.settle(async () => {
      if (isNewConnection) await this.#own.lookForLost();
      await this.#own.catchUp();
    });
    if (!wasUp || !isNewConnection) this.#events.back(this.#own.size);
  }
}
