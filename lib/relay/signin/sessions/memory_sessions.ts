/** Sessions of a relay that shares them with no other. */
import { RecordMemory } from "./record_memory.ts";
import {
  isMeant,
  marksOf,
  marksOfLogout,
  personKey,
  setKeysOf,
  setKeysOfLogout,
  userKey,
} from "./session_sets.ts";
import {
  type FoundSessions,
  type Issued,
  type LoggedOut,
  logoutRememberedMs,
  maxHostsOfSession,
  maxSessionsOfPerson,
  type SessionQuery,
  type SessionRecord,
  type Sessions,
  successorMs,
  type UsedSession,
} from "./sessions.ts";
import { setNewest } from "../../../set_newest.ts";

/** Things used up, logouts and successors that are remembered, each. */
const maxRemembered = 100_000;

/** What surrounds the sessions. */
export interface MemoryContext {
  readonly nowMs: () => number;
  /** How long a session lasts without a request, in milliseconds. */
  readonly idleMs: number;
  /** Names the relay in lists. */
  readonly relay: string;
  /** Called when sessions have ended other than by time. */
  readonly changed: () => void;
}

interface Kept {
  record: SessionRecord;
  /** When the last request came. */
  seenMs: number;
  readonly hosts: Set<string>;
}

/** Something that is remembered for a while. */
interface Remembered<Value> {
  readonly value: Value;
  readonly untilMs: number;
}

/** Sessions in this process. */
export class MemorySessions implements Sessions {
  readonly #kept = new RecordMemory<Kept>(({ record }) => {
    this.#unlist(record);
    this.#context.changed();
  });
  /** Ids of sessions, in the order in which they were begun, by the names of `setKeysOf`. */
  readonly #sets = new Map<string, Set<string>>();
  readonly #used = new Map<string, Remembered<true>>();
  /** When the provider logged somebody out, by its own clock. */
  readonly #ended = new Map<string, Remembered<number>>();
  readonly #successors = new Map<string, Remembered<string>>();
  readonly #context: MemoryContext;

  constructor(context: MemoryContext) {
    this.#context = context;
  }

  get size(): number {
    return this.#kept.size;
  }

  find(id: string): SessionRecord | undefined {
    return this.known(id);
  }

  known(id: string): SessionRecord | undefined {
    const kept = this.#kept.get(id);
    if (!kept) return undefined;
    const now = this.#context.nowMs();
    const isIdle = now >= kept.seenMs + this.#context.idleMs;
    if (now < kept.record.expiresMs && !isIdle) return kept.record;
    this.#remove(id);
    return undefined;
  }

  put(record: SessionRecord, replaces?: string): Promise<void> {
    if (replaces !== undefined) {
      this.#remember(this.#successors, replaces, record.id, this.#context.nowMs() + successorMs);
      if (this.#remove(replaces)) this.#context.changed();
    }
    this.#remove(record.id);
    this.#kept.set({ record, seenMs: this.#context.nowMs(), hosts: new Set() });
    for (const key of setKeysOf(record)) this.#join(key, record.id);
    this.#limitPerson(record);
    return Promise.resolve();
  }

  #limitPerson(record: SessionRecord): void {
    const ids = this.#aliveIn(personKey(record));
    const tooMany = ids.slice(0, Math.max(0, ids.length - maxSessionsOfPerson));
    for (const id of tooMany) this.#remove(id);
    if (tooMany.length > 0) this.#context.changed();
  }

  successorOf(id: string): Promise<SessionRecord | undefined> {
    const next = this.#recall(this.#successors, id);
    return Promise.resolve(next === undefined ? undefined : this.known(next));
  }

  update(record: SessionRecord): Promise<void> {
    const kept = this.#kept.get(record.id);
    if (!kept) return Promise.resolve();
    const keys = setKeysOf(record);
    for (const key of setKeysOf(kept.record)) if (!keys.includes(key)) this.#leave(key, record.id);
    for (const key of keys) this.#join(key, record.id);
    this.#kept.set({ ...kept, record });
    return Promise.resolve();
  }

  beginRefresh(): Promise<"mine"> {
    return Promise.resolve("mine");
  }

  seen(id: string, nowMs: number, host: string | undefined): void {
    const kept = this.#kept.get(id);
    if (!kept) return;
    if (host !== undefined && kept.hosts.size < maxHostsOfSession) kept.hosts.add(host);
    // A second's exactness costs nothing and saves most of the moving.
    if (nowMs - kept.seenMs < 1_000) return;
    kept.seenMs = nowMs;
    this.#kept.touch(id);
  }

  end(id: string): Promise<boolean> {
    const isThere = this.known(id) !== undefined && this.#remove(id);
    if (isThere) this.#context.changed();
    return Promise.resolve(isThere);
  }

  endOf(loggedOut: LoggedOut): Promise<number> {
    const untilMs = this.#context.nowMs() + logoutRememberedMs;
    for (const mark of marksOfLogout(loggedOut)) {
      const before = this.#recall(this.#ended, mark) ?? 0;
      this.#remember(this.#ended, mark, Math.max(before, loggedOut.issuedMs), untilMs);
    }
    const ids = new Set(setKeysOfLogout(loggedOut).flatMap((key) => this.#aliveIn(key)));
    const meant = [...ids].filter((id) => isMeant(loggedOut, this.#kept.get(id)!.record));
    for (const id of meant) this.#remove(id);
    if (meant.length > 0) this.#context.changed();
    return Promise.resolve(meant.length);
  }

  list({ user, person, limit = Infinity }: SessionQuery = {}): Promise<FoundSessions> {
    const ids = person
      ? this.#aliveIn(personKey(person))
      : user !== undefined
      ? this.#aliveIn(userKey(user))
      : [...this.#kept.keys()].filter((id) => this.known(id));
    const sessions = ids.slice(0, limit).map((id) => this.#usedSession(id));
    return Promise.resolve({ sessions, isComplete: sessions.length === ids.length });
  }

  #usedSession(id: string): UsedSession {
    const { record, seenMs, hosts } = this.#kept.get(id)!;
    return { record, lastUsedMs: seenMs, hosts: [...hosts], relay: this.#context.relay };
  }

  useOnce(id: string, untilMs: number): Promise<boolean> {
    const isNew = this.#recall(this.#used, id) === undefined;
    if (isNew) this.#remember(this.#used, id, true, untilMs);
    return Promise.resolve(isNew);
  }

  isEnded(issued: Issued): Promise<boolean> {
    const isEnded = marksOf(issued).some((mark) =>
      issued.issuedMs <= (this.#recall(this.#ended, mark) ?? -Infinity)
    );
    return Promise.resolve(isEnded);
  }

  #aliveIn(key: string): string[] {
    return [...this.#sets.get(key) ?? []].filter((id) => this.known(id));
  }

  #remove(id: string): boolean {
    const kept = this.#kept.get(id);
    if (!kept) return false;
    this.#unlist(kept.record);
    return this.#kept.delete(id);
  }

  #unlist(record: SessionRecord): void {
    for (const key of setKeysOf(record)) this.#leave(key, record.id);
  }

  #join(key: string, id: string): void {
    const ids = this.#sets.get(key) ?? new Set();
    this.#sets.set(key, ids.add(id));
  }

  #leave(key: string, id: string): void {
    const ids = this.#sets.get(key);
    ids?.delete(id);
    if (ids?.size === 0) this.#sets.delete(key);
  }

  #remember<Value>(
    map: Map<string, Remembered<Value>>,
    key: string,
    value: Value,
    untilMs: number,
  ): void {
    setNewest(map, key, { value, untilMs }, maxRemembered);
  }

  #recall<Value>(map: Map<string, Remembered<Value>>, key: string): Value | undefined {
    const remembered = map.get(key);
    return remembered && this.#context.nowMs() <= remembered.untilMs ? remembered.value : undefined;
  }
}
