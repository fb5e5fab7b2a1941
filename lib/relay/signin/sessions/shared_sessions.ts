/**
 * Sessions that several relays share, in the Redis of `--directory`.
 *
 * Each relay keeps the records that it has used. Every second it asks which sessions have ended or
 * changed since it last asked.
 */
import type { Log } from "../../../log.ts";
import { messageOf } from "../../../message_of.ts";
import { EndedSessions } from "./ended_sessions.ts";
import { RecentFacts } from "./recent_facts.ts";
import { RecordMemory } from "./record_memory.ts";
import { SessionChanges } from "./session_changes.ts";
import {
  isMeant,
  marksOf,
  marksOfLogout,
  personKey,
  setKeysOfLogout,
  userKey,
} from "./session_sets.ts";
import {
  allSessions,
  markKey,
  SessionStore,
  type SessionStoreContext,
  setKey,
  usedKey,
} from "./session_store.ts";
import {
  type FoundSessions,
  type Issued,
  type LoggedOut,
  maxHostsOfSession,
  maxSessionsOfPerson,
  type SessionQuery,
  type SessionRecord,
  type Sessions,
  type UsedSession,
} from "./sessions.ts";

/** What surrounds the sessions. */
export interface SharedContext extends SessionStoreContext {
  readonly log: Log;
  /** Names this relay among those that share the store. */
  readonly relay: string;
  /** Called when sessions have ended other than by time. */
  readonly changed: () => void;
}

/** How often a relay asks what has changed, in milliseconds. */
const pollMs = 1_000;
/** The time between two writes that a session was used, in milliseconds. */
const seenMs = 30_000;
/** How long requests wait for another relay's refresh; then they go on with what is known. */
const refreshWaitMs = 15_000;
/** How long a record is used without reading the store again, in milliseconds. */
const knownMs = 60_000;
/** Sessions that are looked at together. */
const pageLength = 200;

interface Known {
  record: SessionRecord;
  /** When a request last came here, and when that was last written. */
  seenMs: number;
  writtenMs: number;
  /** When it was last read or written. */
  readMs: number;
  readonly hosts: Set<string>;
}

/** Sessions in a store that relays share. */
export class SharedSessions implements Sessions {
  readonly #context: SharedContext;
  readonly #store: SessionStore;
  readonly #changes: SessionChanges;
  readonly #known = new RecordMemory<Known>(() => {});
  readonly #ended: EndedSessions;
  /** Ends of sessions and what else must not count again. */
  readonly #facts: RecentFacts;
  /** Sessions with values that the store did not take. */
  readonly #unwritten = new Set<string>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #poll: Promise<void> | undefined;
  #isAway = false;

  constructor(context: SharedContext) {
    this.#context = context;
    this.#store = new SessionStore(context);
    this.#changes = new SessionChanges(this.#store);
    this.#facts = new RecentFacts(context.clock.monotonicMs);
    this.#ended = new EndedSessions(this.#store, this.#facts);
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
    this.#changes.startAnew();
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
    if (!this.#ended.has(id)) return await this.#store.read(id);
    await this.#ended.deleteAgain(id);
    return undefined;
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
    if (replaces !== undefined) {
      await this.#store.putSuccessor(replaces, record.id);
      await this.end(replaces);
    }
    await this.#store.add(record);
    await this.#limitPerson(record);
    this.#keep(record);
    await this.#store.announce(record.id);
  }

  async #limitPerson(record: SessionRecord): Promise<void> {
    const key = await setKey(personKey(record));
    if (await this.#store.countIn(key) <= maxSessionsOfPerson) return;
    // Many of them may have ended by time.
    const alive = await this.#aliveIn(key);
    const tooMany = alive.slice(0, Math.max(0, alive.length - maxSessionsOfPerson));
    for (const { id } of tooMany) await this.end(id);
  }

  async successorOf(id: string): Promise<SessionRecord | undefined> {
    const next = await this.#store.successorOf(id);
    return next === undefined ? undefined : await this.find(next);
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
    if (!await this.#store.rewrite(record)) return this.#gone(record.id);
    await this.#store.announce(record.id);
  }

  async beginRefresh(record: SessionRecord): Promise<"mine" | SessionRecord | undefined> {
    const { clock } = this.#context;
    const deadlineMs = clock.monotonicMs() + refreshWaitMs;
    while (clock.monotonicMs() < deadlineMs) {
      try {
        const current = await this.#fetch(record.id);
        if (!current) return undefined;
        if (current.freshUntilMs > clock.nowMs()) return current;
        if (await this.#store.lockRefresh(record.id)) return await this.#stillMine(record.id);
      } catch (error) {
        this.#away(error);
        return record;
      }
      await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 100));
    }
    return this.known(record.id);
  }

  /** Who had the lock before may have been done between the look at the record and at the lock. */
  async #stillMine(id: string): Promise<"mine" | SessionRecord | undefined> {
    const current = await this.#fetch(id);
    if (current && current.freshUntilMs <= this.#context.clock.nowMs()) return "mine";
    await this.#store.unlockRefresh(id);
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
    const { relay } = this.#context;
    this.#store.writeUse(known.record, { relay, seenMs: nowMs, hosts: [...hosts] })
      .catch((error) => this.#away(error));
  }

  async end(id: string): Promise<boolean> {
    this.#ended.add(id);
    const isHere = this.known(id) !== undefined;
    // Here it ends though the store be away; `poll` tells the store when it is there again.
    this.#gone(id);
    return await this.#ended.delete(id) || isHere;
  }

  async endOf(loggedOut: LoggedOut): Promise<number> {
    for (const mark of await Promise.all(marksOfLogout(loggedOut).map(markKey))) {
      await this.#store.mark(mark, loggedOut.issuedMs);
      this.#facts.add(() => this.#store.mark(mark, loggedOut.issuedMs));
    }
    const keys = await Promise.all(setKeysOfLogout(loggedOut).map(setKey));
    const found = (await Promise.all(keys.map((key) => this.#aliveIn(key)))).flat();
    const meant = found.filter((record) => isMeant(loggedOut, record)).map(({ id }) => id);
    let ended = 0;
    for (const id of new Set(meant)) if (await this.end(id)) ended++;
    return ended;
  }

  async list({ user, person, limit = Infinity }: SessionQuery = {}): Promise<FoundSessions> {
    const key = person
      ? await setKey(personKey(person))
      : user !== undefined
      ? await setKey(userKey(user))
      : allSessions;
    const records = await this.#aliveIn(key, limit + 1);
    const shown = records.slice(0, limit);
    const sessions = await Promise.all(shown.map((record) => this.#usedSession(record)));
    return { sessions, isComplete: shown.length === records.length };
  }

  /** Sessions of a set that are alive, the first ones first; the set forgets the others. */
  async #aliveIn(key: string, limit = Infinity): Promise<SessionRecord[]> {
    const ids = await this.#store.idsIn(key);
    const alive: SessionRecord[] = [];
    for (let start = 0; start < ids.length && alive.length < limit; start += pageLength) {
      const page = ids.slice(start, start + pageLength);
      const records = await Promise.all(page.map((id) => this.#read(id)));
      const over = page.filter((_, index) => !records[index]);
      if (over.length > 0) await this.#store.removeFrom(key, over);
      alive.push(...records.filter((record) => record !== undefined));
    }
    return alive.slice(0, limit);
  }

  async #usedSession(record: SessionRecord): Promise<UsedSession> {
    const { relay } = this.#context;
    const known = this.#known.get(record.id);
    const stored = await this.#store.usesOf(record.id);
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
    const key = await usedKey(id);
    const isFirst = await this.#store.use(key, untilMs);
    if (isFirst) this.#facts.add(() => this.#store.use(key, untilMs));
    return isFirst;
  }

  async isEnded(issued: Issued): Promise<boolean> {
    for (const key of await Promise.all(marksOf(issued).map(markKey))) {
      const endedMs = await this.#store.markedMs(key);
      if (endedMs !== undefined && issued.issuedMs <= endedMs) return true;
    }
    return false;
  }

  /** Asks what has changed; one such question at a time. Never rejects. */
  async poll(): Promise<void> {
    this.#poll ??= this.#ask().catch((error) => this.#away(error))
      .finally(() => this.#poll = undefined);
    await this.#poll;
  }

  async #ask(): Promise<void> {
    const announced = await this.#changes.ids();
    this.#told();
    await this.#facts.tellAgain();
    await this.#ended.deleteLate();
    await this.#writeLate();
    const candidates = this.#changes.takeMissed() ? this.#known.keys() : announced;
    const ids = [...candidates].filter((id) => this.#known.get(id));
    await this.#lookAgain(ids);
    // A store that forgets this must not bring them back.
    for (const id of ids) if (announced.has(id) && !this.#known.get(id)) this.#ended.heard(id);
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
    this.#changes.missed();
    if (this.#isAway) return;
    this.#isAway = true;
    this.#context.log.error("The store of people's sessions is unavailable", {
      error: messageOf(error),
    });
  }

  #told(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#context.log.info("The store of people's sessions is available again");
  }
}
