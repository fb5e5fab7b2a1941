/**
 * Changes records in zones at Cloudflare. A TXT record names a record's owner, as in zones with dynamic
 * updates. The API can't make a change conditional, so a zone is read right before it is changed.
 *
 * Cloudflare allows each user 1,200 calls in five minutes. Changes of a zone are therefore batched, and
 * one list of its records serves a whole batch.
 */
import { Slots } from "../../kube/slots.ts";
import { messageOf } from "../../message_of.ts";
import {
  CloudflareApi,
  CloudflareBlocked,
  type CloudflareFetch,
  CloudflareRefusal,
} from "./cloudflare_api.ts";
import type { CloudflareRecord } from "./cloudflare_records.ts";
import type { RecordChange } from "./cloudflare_plan.ts";
import { Batcher, type BatchTiming, systemTimers, type Timers } from "./batcher.ts";
import type { OldRecord } from "./records.ts";
import type { DnsOutcome } from "./rfc2136.ts";
import { applyChanges, type PendingChange } from "./cloudflare_batches.ts";

/** A zone, and a token that may change it. */
export interface CloudflareZone {
  readonly name: string;
  readonly token: string;
}

/** The state of a zone for one token. Another token may see and do something else. */
interface ZoneState {
  id: string | undefined;
  readonly changes: Batcher<PendingChange>;
  /** How many changes have no outcome yet. */
  waiting: number;
  usedMs: number;
}

/** How a client of the API sends requests, and keeps time. */
export interface CloudflareOptions {
  readonly fetch: CloudflareFetch;
  readonly baseUrl?: string;
  /** Called before each change. Throws if this process must not change records. */
  readonly mayWrite?: () => void;
  /** Called for each request; `code` is the status of the answer, or `error` if there was none. */
  readonly answered?: (method: string, code: string) => void;
  readonly timers?: Timers;
  readonly timing?: BatchTiming;
}

const defaultTiming: BatchTiming = { quietMs: 1_000, maxQuietMs: 5_000, maxMs: 15_000 };
/** After this time without a change, the state of a zone is forgotten. */
const unusedMs = 10 * 60_000;
/** The maximum number of changes that wait for one zone and one token. */
const maxWaiting = 10_000;

/** Changes records for all tunnels whose zones are at Cloudflare. */
export class Cloudflare {
  readonly #options: CloudflareOptions;
  readonly #timers: Timers;
  readonly #api: CloudflareApi;
  /** The state of each zone, by the zone's name and the token. */
  readonly #zones = new Map<string, ZoneState>();
  /** One slot per zone id: changes with different tokens take turns, so that none acts on an old list. */
  readonly #turns = new Map<string, Slots>();

  constructor(options: CloudflareOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#api = new CloudflareApi({ ...options, nowMs: this.#timers.nowMs });
  }

  /** The number of changes that have no outcome yet. */
  get waiting(): number {
    return [...this.#zones.values()].reduce((sum, { waiting }) => sum + waiting, 0);
  }

  /** Creates or changes a record, if its name is free or already has this owner. */
  put(zone: CloudflareZone, record: CloudflareRecord, owner: string): Promise<DnsOutcome> {
    return this.#outcome(zone, { kind: "put", record, owner });
  }

  /**
   * Deletes a record and its owner's TXT record, if they have this owner. A record that points elsewhere
   * now stays, and only the TXT record goes.
   */
  remove(zone: CloudflareZone, record: OldRecord, owner: string): Promise<DnsOutcome> {
    return this.#outcome(zone, { kind: "remove", record, owner });
  }

  async #outcome(zone: CloudflareZone, change: RecordChange): Promise<DnsOutcome> {
    const state = this.#stateOf(zone);
    try {
      this.#api.mayAsk(zone.token);
      if (state.waiting >= maxWaiting) throw new Error("Too many changes wait for Cloudflare");
    } catch (error) {
      return outcomeOf(error);
    }
    const { promise, resolve } = Promise.withResolvers<DnsOutcome>();
    state.waiting++;
    state.changes.add({ change, settle: resolve });
    try {
      return await promise;
    } finally {
      state.waiting--;
    }
  }

  /** Makes changes. If a call fails, its error is the outcome of all changes that have none yet. */
  async #apply(zone: CloudflareZone, state: ZoneState, changes: readonly PendingChange[]) {
    try {
      state.id ??= await this.#api.zoneId(zone.token, zone.name);
      const { id } = state;
      await this.#turnsOf(id).run(() =>
        applyChanges(changes, {
          zone: zone.name,
          nowMs: this.#timers.nowMs,
          records: () => this.#api.records(zone.token, id),
          batch: async (operations) => {
            this.#options.mayWrite?.();
            await this.#api.batch(zone.token, id, operations);
          },
        })
      );
    } catch (error) {
      // A new zone may have this name by now.
      state.id = undefined;
      for (const { settle } of changes) settle(outcomeOf(error));
    }
    state.usedMs = this.#timers.nowMs();
  }

  #turnsOf(zoneId: string): Slots {
    const turns = this.#turns.get(zoneId) ?? new Slots(1);
    this.#turns.set(zoneId, turns);
    return turns;
  }

  #stateOf(zone: CloudflareZone): ZoneState {
    const key = JSON.stringify([zone.name, zone.token]);
    const known = this.#zones.get(key);
    if (known) return known;
    this.#forgetUnused();
    const state: ZoneState = {
      id: undefined,
      waiting: 0,
      usedMs: this.#timers.nowMs(),
      changes: new Batcher(
        this.#options.timing ?? defaultTiming,
        this.#timers,
        (changes) => this.#apply(zone, state, changes),
      ),
    };
    this.#zones.set(key, state);
    return state;
  }

  #forgetUnused(): void {
    const beforeMs = this.#timers.nowMs() - unusedMs;
    for (const [key, { changes, usedMs }] of this.#zones) {
      if (changes.isIdle && usedMs < beforeMs) this.#zones.delete(key);
    }
    const ids = new Set([...this.#zones.values()].map(({ id }) => id));
    for (const id of this.#turns.keys()) if (!ids.has(id)) this.#turns.delete(id);
  }
}

function outcomeOf(error: unknown): DnsOutcome {
  const reason = messageOf(error);
  if (error instanceof CloudflareRefusal) return { kind: "refused", reason };
  const retryAfterMs = error instanceof CloudflareBlocked ? error.retryAfterMs : undefined;
  return { kind: "unreachable", reason, ...retryAfterMs !== undefined && { retryAfterMs } };
}
