/**
 * Records in zones at Cloudflare. Ownership is a TXT record, as in zones with dynamic updates; but the
 * API can't make a change conditional, so that the zone is read right before it is changed.
 *
 * Calls are limited for each user: 1,200 in five minutes. So changes of a zone are batched, and one list
 * of its records serves for all of them.
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

/** A zone, and who may change it. */
export interface CloudflareZone {
  readonly name: string;
  readonly token: string;
}

/** What is known of a zone by one token. What another token may see and do is another's. */
interface ZoneState {
  id: string | undefined;
  readonly changes: Batcher<PendingChange>;
  /** How many of them are not settled. */
  waiting: number;
  usedMs: number;
}

/** What runs a client of the API. */
export interface CloudflareOptions {
  readonly fetch: CloudflareFetch;
  readonly baseUrl?: string;
  /** Throws if this process must not change records. */
  readonly mayWrite?: () => void;
  /** Called for each answer; `code` is its status, or `error` when there was none. */
  readonly answered?: (method: string, code: string) => void;
  readonly timers?: Timers;
  readonly timing?: BatchTiming;
}

const defaultTiming: BatchTiming = { quietMs: 1_000, maxQuietMs: 5_000, maxMs: 15_000 };
/** A zone that nobody has asked for is forgotten. */
const unusedMs = 10 * 60_000;
/** Of a zone with a token: others' do not count. */
const maxWaiting = 10_000;

/** Changes records. */
export class Cloudflare {
  readonly #options: CloudflareOptions;
  readonly #timers: Timers;
  readonly #api: CloudflareApi;
  /** By zone and token. */
  readonly #zones = new Map<string, ZoneState>();
  /** By a zone's id: it is changed with one token at a time, so that what was read still holds. */
  readonly #turns = new Map<string, Slots>();

  constructor(options: CloudflareOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#api = new CloudflareApi({ ...options, nowMs: this.#timers.nowMs });
  }

  /** Records that wait to be changed or looked at. */
  get waiting(): number {
    return [...this.#zones.values()].reduce((sum, { waiting }) => sum + waiting, 0);
  }

  /** Creates or changes a record if its name is free or has this owner. */
  put(zone: CloudflareZone, record: CloudflareRecord, owner: string): Promise<DnsOutcome> {
    return this.#outcome(zone, { kind: "put", record, owner });
  }

  /** Takes a record away if it is this owner's, and only the claim if it points elsewhere now. */
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

  /** Makes changes. Those that are not settled when a call fails get its error as their outcome. */
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
      // The zone may be another one with this name by now.
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
