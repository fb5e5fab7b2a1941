/**
 * Sessions that several relays share, in the Redis of `--directory`. Records are sealed with the
 * session keys, so whoever reads the store learns neither names nor tokens.
 *
 * Each relay keeps the records that it has used. Every second it asks which sessions have ended or
 * changed since it last asked, from a stream of such events, so clocks do not matter.
 */
import type { Log } from "../../log.ts";
import type { Clock } from "../../jwt/clock.ts";
import type { SessionKeys } from "./session_keys.ts";
import {
  type EndedPeople,
  logoutRememberedMs,
  maxSessions,
  type SessionRecord,
  type Sessions,
} from "./sessions.ts";

/** The store, as far as sessions need it. */
export interface SharedStore {
  send(command: readonly string[]): Promise<unknown>;
}

/** What surrounds the sessions. */
export interface SharedContext {
  readonly store: SharedStore;
  readonly keys: SessionKeys;
  readonly clock: Clock;
  readonly log: Log;
  readonly idleMs: number;
  /** Called when sessions have ended other than by time. */
  readonly changed: () => void;
}

/** How often a relay asks what has changed, in milliseconds. */
const pollMs = 1_000;
/** Between two writes that a session was used, in milliseconds. */
const seenMs = 30_000;
/** For how long a relay may ask a provider, in milliseconds. */
const refreshLockMs = 15_000;
/** Changes that are remembered for relays that have not asked yet. */
const maxChanges = 10_000;

const prefix = "culvert:people:";
const changesKey = `${prefix}changes`;
/** For how long a record is used without another look at the store, in milliseconds. */
const knownMs = 60_000;

interface Known {
  record: SessionRecord;
  /** When a request last came here, and when that was last written. */
  seenMs: number;
  writtenMs: number;
  /** When it was last read or written. */
  readMs: number;
}

/** Sessions in a store that relays share. */
export class SharedSessions implements Sessions {
  readonly #context: SharedContext;
  readonly #known = new Map<string, Known>();
  /** The last change that is known; undefined before the first answer. */
  #seen: string | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #poll: Promise<void> | undefined;
  #isAway = false;

  constructor(context: SharedContext) {
    this.#context = context;
  }

  /** Begins to follow what other relays do. */
  open(): void {
    this.#timer ??= setInterval(() => void this.poll(), pollMs);
  }

  /** Stops that. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#poll;
  }

  known(id: string): SessionRecord | undefined {
    const known = this.#known.get(id);
    if (!known) return undefined;
    if (this.#context.clock.nowMs() < known.record.expiresMs) return known.record;
    this.#known.delete(id);
    return undefined;
  }

  find(id: string): SessionRecord | undefined | Promise<SessionRecord | undefined> {
    const known = this.#known.get(id);
    const { clock, idleMs } = this.#context;
    // What was idle here may have been in use elsewhere, or have ended.
    const untilMs = Math.min(known?.readMs ?? 0, known?.seenMs ?? 0) + Math.min(idleMs, knownMs);
    return known && clock.nowMs() < untilMs ? this.known(id) : this.#fetch(id);
  }

  async #fetch(id: string): Promise<SessionRecord | undefined> {
    try {
      const text = await this.#context.store.send(["GET", recordKey(id)]);
      this.#told();
      if (typeof text !== "string") return this.#gone(id);
      const claims = await this.#context.keys.open("record", id, text);
      if (!claims) return this.#gone(id);
      const record = claims["record"] as SessionRecord;
      this.#keep(record);
      return this.known(id);
    } catch (error) {
      this.#away(error);
      // A session that was good a moment ago goes on while the store is away.
      return this.known(id);
    }
  }

  #gone(id: string): undefined {
    if (this.#known.delete(id)) this.#context.changed();
  }

  #keep(record: SessionRecord): void {
    const nowMs = this.#context.clock.nowMs();
    const known = this.#known.get(record.id);
    this.#known.delete(record.id);
    if (this.#known.size >= maxSessions) this.#known.delete(this.#known.keys().next().value!);
    // The same object as before is the same caller as before.
    const isSame = known !== undefined && known.record.freshUntilMs === record.freshUntilMs;
    this.#known.set(record.id, {
      record: isSame ? known.record : record,
      seenMs: known?.seenMs ?? nowMs,
      writtenMs: known?.writtenMs ?? nowMs,
      readMs: nowMs,
    });
  }

  async put(record: SessionRecord): Promise<void> {
    await this.#write(record);
    const { store } = this.#context;
    for (const key of await peopleKeys(record)) {
      await store.send(["SADD", key, record.id]);
      await store.send(["PEXPIRE", key, String(this.#leftMs(record))]);
    }
    this.#keep(record);
    await this.#announce(record.id);
  }

  async update(record: SessionRecord): Promise<void> {
    if (!this.#known.has(record.id)) return;
    await this.#write(record, "XX");
    const known = this.#known.get(record.id);
    if (known) known.record = record;
    await this.#announce(record.id);
  }

  async #write(record: SessionRecord, ...more: readonly string[]): Promise<void> {
    const leftMs = this.#leftMs(record);
    const sealed = await this.#context.keys.seal("record", record.id, { record }, leftMs);
    const aliveMs = Math.min(leftMs, this.#context.idleMs);
    const command = [
      "SET",
      recordKey(record.id),
      sealed,
      "PX",
      String(Math.ceil(aliveMs)),
      ...more,
    ];
    await this.#context.store.send(command);
  }

  #leftMs({ expiresMs }: SessionRecord): number {
    return Math.max(1, Math.ceil(expiresMs - this.#context.clock.nowMs()));
  }

  async beginRefresh(record: SessionRecord): Promise<"mine" | SessionRecord | undefined> {
    const { store, clock } = this.#context;
    const key = `${prefix}refresh:${record.id}`;
    const deadlineMs = clock.monotonicMs() + refreshLockMs;
    while (clock.monotonicMs() < deadlineMs) {
      try {
        const current = await this.#fetch(record.id);
        if (!current) return undefined;
        if (current.freshUntilMs > clock.nowMs()) return current;
        const lock = ["SET", key, "1", "NX", "PX", String(refreshLockMs)];
        if (await store.send(lock) === "OK") return await this.#stillMine(record.id, key);
      } catch (error) {
        this.#away(error);
        return record;
      }
      await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 100));
    }
    return this.known(record.id);
  }

  /** Who had the lock before may have been done between the look at the record and at the lock. */
  async #stillMine(id: string, key: string): Promise<"mine" | SessionRecord | undefined> {
    const current = await this.#fetch(id);
    if (current && current.freshUntilMs <= this.#context.clock.nowMs()) return "mine";
    await this.#context.store.send(["DEL", key]);
    return current;
  }

  seen(id: string, nowMs: number): void {
    const known = this.#known.get(id);
    if (!known) return;
    known.seenMs = nowMs;
    if (nowMs - known.writtenMs < seenMs) return;
    known.writtenMs = nowMs;
    const aliveMs = Math.min(this.#leftMs(known.record), this.#context.idleMs);
    const command = ["PEXPIRE", recordKey(id), String(Math.ceil(aliveMs))];
    this.#context.store.send(command).catch((error) => this.#away(error));
  }

  async end(id: string): Promise<void> {
    await this.#context.store.send(["DEL", recordKey(id)]);
    this.#gone(id);
    await this.#announce(id);
  }

  async endOf(people: EndedPeople): Promise<number> {
    const { store } = this.#context;
    const now = await this.#storeMs();
    let ended = 0;
    for (const key of await peopleKeys(people)) {
      const mark = ["SET", `${key}:ended`, String(now), "PX", String(logoutRememberedMs)];
      await store.send(mark);
      const ids = await store.send(["SMEMBERS", key]);
      await store.send(["DEL", key]);
      for (const id of Array.isArray(ids) ? ids.map(String) : []) {
        if (Number(await store.send(["DEL", recordKey(id)])) > 0) ended++;
        this.#known.delete(id);
        await this.#announce(id);
      }
    }
    if (ended > 0) this.#context.changed();
    return ended;
  }

  async useOnce(id: string, untilMs: number): Promise<boolean> {
    const leftMs = Math.max(1_000, Math.ceil(untilMs - this.#context.clock.nowMs()));
    const key = `${prefix}used:${await digest(id)}`;
    const reply = await this.#context.store.send(["SET", key, "1", "NX", "PX", String(leftMs)]);
    return reply === "OK";
  }

  async isEnded(people: EndedPeople & { readonly issuedMs: number }): Promise<boolean> {
    for (const key of await peopleKeys(people)) {
      const endedMs = await this.#context.store.send(["GET", `${key}:ended`]);
      if (typeof endedMs === "string" && people.issuedMs <= Number(endedMs)) return true;
    }
    return false;
  }

  async #storeMs(): Promise<number> {
    const reply = await this.#context.store.send(["TIME"]);
    return Array.isArray(reply) ? Number(reply[0]) * 1_000 : this.#context.clock.nowMs();
  }

  async #announce(id: string): Promise<void> {
    const bound = ["MAXLEN", "~", String(maxChanges)];
    await this.#context.store.send(["XADD", changesKey, ...bound, "*", "id", id]);
  }

  /** Asks what has changed; one such question at a time. Never rejects. */
  async poll(): Promise<void> {
    this.#poll ??= this.#ask().catch((error) => this.#away(error))
      .finally(() => this.#poll = undefined);
    await this.#poll;
  }

  async #ask(): Promise<void> {
    const { store } = this.#context;
    if (this.#seen === undefined) {
      const last = await store.send(["XREVRANGE", changesKey, "+", "-", "COUNT", "1"]);
      this.#seen = entriesOf(last)[0]?.number ?? "0-0";
      return;
    }
    const range = ["XRANGE", changesKey, `(${this.#seen}`, "+", "COUNT", String(maxChanges)];
    const entries = entriesOf(await store.send(range));
    this.#told();
    this.#seen = entries.at(-1)?.number ?? this.#seen;
    const ids = new Set(entries.map(({ id }) => id));
    await this.#lookAgain([...ids].filter((id) => this.#known.has(id)));
  }

  async #lookAgain(ids: readonly string[]): Promise<void> {
    await Promise.all(ids.map((id) => this.#fetch(id)));
  }

  #away(error: unknown): void {
    if (this.#isAway) return;
    this.#isAway = true;
    const reason = error instanceof Error ? error.message : String(error);
    this.#context.log.error("The store of people's sessions is away", { reason });
  }

  #told(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#context.log.info("The store of people's sessions is there again");
  }
}

interface Entry {
  readonly number: string;
  readonly id: string;
}

/** What a stream's ranges consist of: `[number, [field, value]]`. */
function entriesOf(reply: unknown): Entry[] {
  if (!Array.isArray(reply)) return [];
  return reply.map(([number, [, id]]) => ({ number: String(number), id: String(id) }));
}

function recordKey(id: string): string {
  return `${prefix}session:${id}`;
}

/** Sets of a person's sessions, and of those of one of the provider's. */
async function peopleKeys(
  { issuer, subject, providerSession }: EndedPeople,
): Promise<string[]> {
  const keys: string[] = [];
  if (subject !== undefined) keys.push(await digest(JSON.stringify([issuer, "sub", subject])));
  if (providerSession !== undefined) {
    keys.push(await digest(JSON.stringify([issuer, "sid", providerSession])));
  }
  return keys.map((key) => `${prefix}of:${key}`);
}

async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex().slice(0, 32);
}
