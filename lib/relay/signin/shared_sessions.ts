/**
 * Sessions that several relays share, in the Redis of `--directory`. Records are sealed with the
 * session keys, so whoever reads the store learns neither names nor tokens.
 *
 * Each relay keeps the records that it has used. Every second it asks which sessions have ended or
 * changed since it last asked, from a stream of such events, so clocks do not matter.
 */
import type { Log } from "../../log.ts";
import { messageOf } from "../../message_of.ts";
import type { Clock } from "../../jwt/clock.ts";
import { RecentFacts } from "./recent_facts.ts";
import { RecordMemory } from "./record_memory.ts";
import type { SessionKeys } from "./seals.ts";
import {
  type FoundSessions,
  isMeant,
  type Issued,
  type LoggedOut,
  logoutRememberedMs,
  marksOf,
  marksOfLogout,
  maxHostsOfSession,
  maxSessionsOfPerson,
  personKey,
  type SessionQuery,
  type SessionRecord,
  type Sessions,
  setKeysOf,
  setKeysOfLogout,
  successorMs,
  type UsedSession,
  userKey,
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
  /** Names this relay among those that share the store. */
  readonly relay: string;
  /** Called when sessions have ended other than by time. */
  readonly changed: () => void;
}

/** How often a relay asks what has changed, in milliseconds. */
const pollMs = 1_000;
/** Between two writes that a session was used, in milliseconds. */
const seenMs = 30_000;
/** For how long one relay may ask a provider: longer than all its requests take, in milliseconds. */
const refreshLockMs = 30_000;
/** For how long requests wait for another relay's refresh; then they go on with what is known. */
const refreshWaitMs = 15_000;
/** Changes that are remembered for relays that have not asked yet. */
const maxChanges = 10_000;
/** For how long a record is used without another look at the store, in milliseconds. */
const knownMs = 60_000;
/** How long sets of sessions are kept, in milliseconds: longer than any session lasts. */
const setMs = 90 * 86_400_000;
/** Sessions that are looked at together. */
const pageLength = 200;
/** Ended sessions that are remembered, in case the store has lost that they ended. */
const maxEnded = 10_000;

const prefix = "culvert:people:";
const changesKey = `${prefix}changes`;
/** All sessions, by when they end. */
const allKey = `${prefix}sessions`;

interface Known {
  record: SessionRecord;
  /** When a request last came here, and when that was last written. */
  seenMs: number;
  writtenMs: number;
  /** When it was last read or written. */
  readMs: number;
  readonly hosts: Set<string>;
}

/** How one relay has used a session, as it is stored. */
interface Use {
  readonly relay: string;
  readonly seenMs: number;
  readonly hosts: readonly string[];
}

/** Sessions in a store that relays share. */
export class SharedSessions implements Sessions {
  readonly #context: SharedContext;
  readonly #known = new RecordMemory<Known>(() => {});
  /** Sessions that have ended; `false` as long as the store does not know. */
  readonly #ended = new Map<string, boolean>();
  /** Ends of sessions and what else must not count again. */
  readonly #facts: RecentFacts;
  /** Sessions with values that the store did not take. */
  readonly #unwritten = new Set<string>();
  /** The last change that is known; undefined before the first answer. */
  #seen: string | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #poll: Promise<void> | undefined;
  #isAway = false;
  /** Whether the store was away since this relay asked for changes. */
  #hasMissed = false;

  constructor(context: SharedContext) {
    this.#context = context;
    this.#facts = new RecentFacts(context.clock.monotonicMs);
  }

  /** Begins to follow what other relays do. */
  open(): void {
    this.#timer ??= setInterval(() => void this.poll(), pollMs);
  }

  /**
   * The store may have another server behind it, which lacks what the one before was told last: what
   * has ended ends again, and what is known is looked at again.
   */
  reconnected(): void {
    this.#facts.doubt();
    this.#seen = undefined;
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
      const record = await this.#read(id);
      this.#told();
      // It may have ended here since the store was asked.
      if (!record || this.#ended.has(id)) return this.#gone(id);
      // What the store does not have yet is newer than what it has.
      if (!this.#unwritten.has(id)) this.#keep(record);
      return this.known(id);
    } catch (error) {
      this.#away(error);
      // A session that was good a moment ago goes on while the store is away.
      const known = this.#known.get(id);
      const isIdle = known && this.#context.clock.nowMs() >= known.seenMs + this.#context.idleMs;
      return isIdle ? undefined : this.known(id);
    }
  }

  /** A session as the store has it; undefined for one that has ended, though the store forgot that. */
  async #read(id: string): Promise<SessionRecord | undefined> {
    const text = await this.#context.store.send(["GET", recordKey(id)]);
    if (typeof text !== "string") return undefined;
    if (this.#ended.has(id)) {
      await this.#delete(id);
      return undefined;
    }
    const claims = await this.#context.keys.open("record", id, text);
    return claims?.["record"] as SessionRecord | undefined;
  }

  #gone(id: string): undefined {
    if (this.#known.delete(id)) this.#context.changed();
  }

  #keep(record: SessionRecord): void {
    const nowMs = this.#context.clock.nowMs();
    const known = this.#known.get(record.id);
    // The same object as before is the same caller as before.
    const isSame = known !== undefined && known.record.freshUntilMs === record.freshUntilMs;
    this.#known.set({
      record: isSame ? known.record : record,
      seenMs: known?.seenMs ?? nowMs,
      writtenMs: known?.writtenMs ?? 0,
      readMs: nowMs,
      hosts: known?.hosts ?? new Set(),
    });
  }

  async put(record: SessionRecord, replaces?: string): Promise<void> {
    const { store } = this.#context;
    if (replaces !== undefined) {
      await store.send(["SET", successorKey(replaces), record.id, "PX", String(successorMs)]);
      await this.end(replaces);
    }
    await this.#write(record);
    const nowMs = this.#context.clock.nowMs();
    await store.send(["ZREMRANGEBYSCORE", allKey, "-inf", String(nowMs)]);
    await store.send(["ZADD", allKey, String(record.expiresMs), record.id]);
    await this.#list(record);
    await this.#limitPerson(record);
    this.#keep(record);
    await this.#announce(record.id);
  }

  async #list(record: SessionRecord): Promise<void> {
    const { store } = this.#context;
    for (const key of await Promise.all(setKeysOf(record).map(setKey))) {
      await store.send(["ZADD", key, String(record.signedInMs), record.id]);
      await store.send(["PEXPIRE", key, String(setMs)]);
    }
  }

  async #limitPerson(record: SessionRecord): Promise<void> {
    const { store } = this.#context;
    const key = await setKey(personKey(record));
    if (Number(await store.send(["ZCARD", key])) <= maxSessionsOfPerson) return;
    // Many of them may have ended by time.
    const alive = await this.#aliveIn(key);
    const tooMany = alive.slice(0, Math.max(0, alive.length - maxSessionsOfPerson));
    for (const { id } of tooMany) await this.end(id);
  }

  async successorOf(id: string): Promise<SessionRecord | undefined> {
    const next = await this.#context.store.send(["GET", successorKey(id)]);
    return typeof next === "string" ? await this.find(next) : undefined;
  }

  async update(record: SessionRecord): Promise<void> {
    const known = this.#known.get(record.id);
    if (!known) return;
    this.#known.set({ ...known, record });
    try {
      await this.#rewrite(record);
    } catch (error) {
      this.#away(error);
      // The provider may have taken the refresh token before for used up: this one must not be lost.
      this.#unwritten.add(record.id);
    }
  }

  /** Writes a session that is there, unless it has ended meanwhile. */
  async #rewrite(record: SessionRecord): Promise<void> {
    if (!await this.#write(record, "XX")) return this.#gone(record.id);
    await this.#list(record);
    await this.#announce(record.id);
  }

  async #write(record: SessionRecord, ...more: readonly string[]): Promise<boolean> {
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
    return await this.#context.store.send(command) === "OK";
  }

  #leftMs({ expiresMs }: SessionRecord): number {
    return Math.max(1, Math.ceil(expiresMs - this.#context.clock.nowMs()));
  }

  async beginRefresh(record: SessionRecord): Promise<"mine" | SessionRecord | undefined> {
    const { store, clock } = this.#context;
    const key = `${prefix}refresh:${record.id}`;
    const deadlineMs = clock.monotonicMs() + refreshWaitMs;
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

  seen(id: string, nowMs: number, host: string | undefined): void {
    const known = this.#known.get(id);
    if (!known) return;
    const { hosts } = known;
    const isNewHost = host !== undefined && !hosts.has(host) && hosts.size < maxHostsOfSession;
    if (isNewHost) hosts.add(host);
    known.seenMs = nowMs;
    this.#known.touch(id);
    if (!isNewHost && nowMs - known.writtenMs < seenMs) return;
    known.writtenMs = nowMs;
    this.#writeUse(known).catch((error) => this.#away(error));
  }

  async #writeUse({ record, seenMs, hosts }: Known): Promise<void> {
    const { store, idleMs, relay } = this.#context;
    const { id } = record;
    const aliveMs = String(Math.ceil(Math.min(this.#leftMs(record), idleMs)));
    const use = JSON.stringify({ relay, seenMs, hosts: [...hosts] });
    await Promise.all([
      store.send(["PEXPIRE", recordKey(id), aliveMs]),
      store.send(["HSET", useKey(id), relay, use]),
      store.send(["PEXPIRE", useKey(id), aliveMs]),
    ]);
  }

  async end(id: string): Promise<boolean> {
    this.#remember(id, false);
    const isHere = this.known(id) !== undefined;
    // Here it ends though the store be away; `poll` tells the store when it is there again.
    this.#gone(id);
    return await this.#delete(id) || isHere;
  }

  async #delete(id: string): Promise<boolean> {
    const { store } = this.#context;
    const isThere = Number(await store.send(["DEL", recordKey(id)])) > 0;
    await store.send(["ZREM", allKey, id]);
    await store.send(["DEL", useKey(id)]);
    await this.#announce(id);
    this.#remember(id, true);
    this.#facts.add(() => this.#endAgain(id));
    return isThere;
  }

  async #endAgain(id: string): Promise<void> {
    if (Number(await this.#context.store.send(["DEL", recordKey(id)])) > 0) await this.#delete(id);
  }

  #remember(id: string, isStored: boolean): void {
    this.#ended.delete(id);
    if (this.#ended.size >= maxEnded) this.#ended.delete(this.#ended.keys().next().value!);
    this.#ended.set(id, isStored);
  }

  async endOf(loggedOut: LoggedOut): Promise<number> {
    for (const mark of await Promise.all(marksOfLogout(loggedOut).map(markKey))) {
      await this.#mark(mark, loggedOut.issuedMs);
      this.#facts.add(() => this.#mark(mark, loggedOut.issuedMs));
    }
    const keys = await Promise.all(setKeysOfLogout(loggedOut).map(setKey));
    const found = (await Promise.all(keys.map((key) => this.#aliveIn(key)))).flat();
    const meant = found.filter((record) => isMeant(loggedOut, record)).map(({ id }) => id);
    let ended = 0;
    for (const id of new Set(meant)) if (await this.end(id)) ended++;
    return ended;
  }

  async #mark(mark: string, issuedMs: number): Promise<void> {
    const { store } = this.#context;
    const before = Number(await store.send(["GET", mark]) ?? 0);
    const latestMs = String(Math.max(before, issuedMs));
    await store.send(["SET", mark, latestMs, "PX", String(logoutRememberedMs)]);
  }

  async list({ user, person, limit = Infinity }: SessionQuery = {}): Promise<FoundSessions> {
    const key = person
      ? await setKey(personKey(person))
      : user !== undefined
      ? await setKey(userKey(user))
      : allKey;
    const records = await this.#aliveIn(key, limit + 1);
    const shown = records.slice(0, limit);
    const sessions = await Promise.all(shown.map((record) => this.#usedSession(record)));
    return { sessions, isComplete: shown.length === records.length };
  }

  /** Sessions of a set that are alive, the first ones first; the set forgets the others. */
  async #aliveIn(key: string, limit = Infinity): Promise<SessionRecord[]> {
    const ids = texts(await this.#context.store.send(["ZRANGE", key, "0", "-1"]));
    const alive: SessionRecord[] = [];
    for (let start = 0; start < ids.length && alive.length < limit; start += pageLength) {
      const page = ids.slice(start, start + pageLength);
      const records = await Promise.all(page.map((id) => this.#read(id)));
      const over = page.filter((_, index) => !records[index]);
      if (over.length > 0) await this.#context.store.send(["ZREM", key, ...over]);
      alive.push(...records.filter((record) => record !== undefined));
    }
    return alive.slice(0, limit);
  }

  async #usedSession(record: SessionRecord): Promise<UsedSession> {
    const { store, relay } = this.#context;
    const known = this.#known.get(record.id);
    const stored = texts(await store.send(["HVALS", useKey(record.id)])).flatMap(toUse);
    const others = stored.filter((use) => use.relay !== relay);
    const own = stored.filter((use) => use.relay === relay);
    const uses = [...others, ...known ? [{ relay, seenMs: known.seenMs, hosts: [] }] : own];
    const last = uses.sort((one, other) => other.seenMs - one.seenMs)[0];
    const hosts = [...others, ...own].flatMap((use) => use.hosts).concat(...known?.hosts ?? []);
    return {
      record,
      lastUsedMs: last?.seenMs ?? record.signedInMs,
      hosts: [...new Set(hosts)],
      relay: last?.relay ?? "",
    };
  }

  async useOnce(id: string, untilMs: number): Promise<boolean> {
    const key = `${prefix}used:${await digest(id)}`;
    const isFirst = await this.#use(key, untilMs);
    if (isFirst) this.#facts.add(() => this.#use(key, untilMs));
    return isFirst;
  }

  async #use(key: string, untilMs: number): Promise<boolean> {
    const leftMs = Math.max(1_000, Math.ceil(untilMs - this.#context.clock.nowMs()));
    const reply = await this.#context.store.send(["SET", key, "1", "NX", "PX", String(leftMs)]);
    return reply === "OK";
  }

  async isEnded(issued: Issued): Promise<boolean> {
    for (const key of await Promise.all(marksOf(issued).map(markKey))) {
      const endedMs = await this.#context.store.send(["GET", key]);
      if (typeof endedMs === "string" && issued.issuedMs <= Number(endedMs)) return true;
    }
    return false;
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
    const entries = await this.#changes();
    this.#told();
    await this.#facts.tellAgain();
    await this.#endLate();
    await this.#writeLate();
    // What happened meanwhile may be lost: changes are kept up to a number.
    const isAll = this.#hasMissed || entries.length >= maxChanges;
    this.#hasMissed = false;
    const announced = new Set(entries.map(({ id }) => id));
    const ids = [...isAll ? this.#known.keys() : announced].filter((id) => this.#known.get(id));
    await this.#lookAgain(ids);
    // A store that forgets this must not bring them back.
    for (const id of ids) if (announced.has(id) && !this.#known.get(id)) this.#remember(id, true);
  }

  /** What has changed since it was last asked. */
  async #changes(): Promise<Entry[]> {
    const { store } = this.#context;
    if (this.#seen === undefined) {
      const last = await store.send(["XREVRANGE", changesKey, "+", "-", "COUNT", "1"]);
      this.#seen = entriesOf(last)[0]?.number ?? "0-0";
      // Of sessions that have ended before that, nobody will tell.
      this.#hasMissed = true;
      return [];
    }
    const range = ["XRANGE", changesKey, `(${this.#seen}`, "+", "COUNT", String(maxChanges)];
    const entries = entriesOf(await store.send(range));
    this.#seen = entries.at(-1)?.number ?? this.#seen;
    return entries;
  }

  /** Ends in the store what ended here while it was away. */
  async #endLate(): Promise<void> {
    for (const [id, isStored] of [...this.#ended]) if (!isStored) await this.#delete(id);
  }

  /** Writes to the store what it did not take while it was away. */
  async #writeLate(): Promise<void> {
    for (const id of [...this.#unwritten]) {
      const known = this.#known.get(id);
      if (known) await this.#rewrite(known.record);
      this.#unwritten.delete(id);
    }
  }

  async #lookAgain(ids: readonly string[]): Promise<void> {
    for (let start = 0; start < ids.length; start += pageLength) {
      await Promise.all(ids.slice(start, start + pageLength).map((id) => this.#fetch(id)));
    }
  }

  #away(error: unknown): void {
    this.#hasMissed = true;
    if (this.#isAway) return;
    this.#isAway = true;
    const reason = messageOf(error);
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

function texts(reply: unknown): string[] {
  return Array.isArray(reply) ? reply.map(String) : [];
}

/** What no relay has written counts for nothing. */
function toUse(text: string): Use[] {
  try {
    const { relay, seenMs, hosts } = JSON.parse(text);
    const isUse = typeof relay === "string" && typeof seenMs === "number" &&
      Array.isArray(hosts) && hosts.every((host) => typeof host === "string");
    return isUse ? [{ relay, seenMs, hosts }] : [];
  } catch {
    return [];
  }
}

function recordKey(id: string): string {
  return `${prefix}session:${id}`;
}

function useKey(id: string): string {
  return `${prefix}use:${id}`;
}

function successorKey(id: string): string {
  return `${prefix}next:${id}`;
}

/** A set of sessions, which the store does not know by name. */
async function setKey(key: string): Promise<string> {
  return `${prefix}set:${await digest(key)}`;
}

async function markKey(mark: string): Promise<string> {
  return `${prefix}ended:${await digest(mark)}`;
}

async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex().slice(0, 32);
}
