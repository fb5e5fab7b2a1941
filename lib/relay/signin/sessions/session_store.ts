/**
 * What relays have in the Redis of `--directory` about people's sessions. Records are sealed with the
 * session keys, so whoever reads the store learns neither names nor tokens.
 */
import type { Clock } from "../../../jwt/clock.ts";
import type { SessionKeys } from "../seals.ts";
import { setKeysOf } from "./session_sets.ts";
import { logoutRememberedMs, type SessionRecord, successorMs } from "./sessions.ts";

/** The store, as far as sessions need it. */
export interface SharedStore {
  send(command: readonly string[]): Promise<unknown>;
}

/** What it needs. */
export interface SessionStoreContext {
  readonly store: SharedStore;
  readonly keys: SessionKeys;
  readonly clock: Clock;
  readonly idleMs: number;
}

/** How one relay has used a session. */
export interface SessionUse {
  readonly relay: string;
  readonly seenMs: number;
  readonly hosts: readonly string[];
}

/** A change that a relay has announced. */
export interface SessionChange {
  /** Where it is among all of them. */
  readonly number: string;
  readonly id: string;
}

/** How long one relay may refresh a session, in milliseconds: longer than all requests for it take. */
const refreshLockMs = 30_000;
/** Changes that are remembered for relays that have not asked yet. */
export const maxChanges = 10_000;
/** How long sets of sessions are kept, in milliseconds: longer than any session lasts. */
const setMs = 90 * 86_400_000;

const prefix = "culvert:people:";
const changesKey = `${prefix}changes`;
/** The set of all sessions, by when they end. */
export const allSessions = `${prefix}sessions`;

/** Commands about sessions. All throw as the store does. */
export class SessionStore {
  readonly #context: SessionStoreContext;

  constructor(context: SessionStoreContext) {
    this.#context = context;
  }

  /** A session; undefined if it is not there, or not sealed with these keys. */
  async read(id: string): Promise<SessionRecord | undefined> {
    const text = await this.#send("GET", recordKey(id));
    if (typeof text !== "string") return undefined;
    const claims = await this.#context.keys.open("record", id, text);
    return claims?.["record"] as SessionRecord | undefined;
  }

  /** Writes a new session, and lists it. */
  async add(record: SessionRecord): Promise<void> {
    await this.#write(record);
    await this.#send("ZREMRANGEBYSCORE", allSessions, "-inf", String(this.#context.clock.nowMs()));
    await this.#send("ZADD", allSessions, String(record.expiresMs), record.id);
    await this.#list(record);
  }

  /** Writes a session that is there. @returns whether it still is */
  async rewrite(record: SessionRecord): Promise<boolean> {
    if (!await this.#write(record, "XX")) return false;
    await this.#list(record);
    return true;
  }

  async #write(record: SessionRecord, ...more: readonly string[]): Promise<boolean> {
    const leftMs = this.#leftMs(record);
    const sealed = await this.#context.keys.seal("record", record.id, { record }, leftMs);
    const aliveMs = String(Math.ceil(Math.min(leftMs, this.#context.idleMs)));
    return await this.#send("SET", recordKey(record.id), sealed, "PX", aliveMs, ...more) === "OK";
  }

  async #list(record: SessionRecord): Promise<void> {
    for (const key of await Promise.all(setKeysOf(record).map(setKey))) {
      await this.#send("ZADD", key, String(record.signedInMs), record.id);
      await this.#send("PEXPIRE", key, String(setMs));
    }
  }

  #leftMs({ expiresMs }: SessionRecord): number {
    return Math.max(1, Math.ceil(expiresMs - this.#context.clock.nowMs()));
  }

  /** @returns whether it was there */
  async delete(id: string): Promise<boolean> {
    const isThere = await this.deleteRecord(id);
    await this.#send("ZREM", allSessions, id);
    await this.#send("DEL", useKey(id));
    return isThere;
  }

  /** Deletes nothing but the record. @returns whether it was there */
  async deleteRecord(id: string): Promise<boolean> {
    return Number(await this.#send("DEL", recordKey(id))) > 0;
  }

  /** Ids of a set's sessions, the first ones first; some may have ended. @param key {@link setKey}'s */
  async idsIn(key: string): Promise<string[]> {
    return texts(await this.#send("ZRANGE", key, "0", "-1"));
  }

  async countIn(key: string): Promise<number> {
    return Number(await this.#send("ZCARD", key));
  }

  async removeFrom(key: string, ids: readonly string[]): Promise<void> {
    await this.#send("ZREM", key, ...ids);
  }

  /** Says for a while which session has replaced another one. */
  async putSuccessor(id: string, successor: string): Promise<void> {
    await this.#send("SET", successorKey(id), successor, "PX", String(successorMs));
  }

  async successorOf(id: string): Promise<string | undefined> {
    const next = await this.#send("GET", successorKey(id));
    return typeof next === "string" ? next : undefined;
  }

  /** Asks to be the one that renews a session. @returns whether it is */
  async lockRefresh(id: string): Promise<boolean> {
    const reply = await this.#send("SET", refreshKey(id), "1", "NX", "PX", String(refreshLockMs));
    return reply === "OK";
  }

  async unlockRefresh(id: string): Promise<void> {
    await this.#send("DEL", refreshKey(id));
  }

  /** Writes how a relay has used a session, which lives on with that. */
  async writeUse(record: SessionRecord, use: SessionUse): Promise<void> {
    const { id } = record;
    const aliveMs = String(Math.ceil(Math.min(this.#leftMs(record), this.#context.idleMs)));
    await Promise.all([
      this.#send("PEXPIRE", recordKey(id), aliveMs),
      this.#send("HSET", useKey(id), use.relay, JSON.stringify(use)),
      this.#send("PEXPIRE", useKey(id), aliveMs),
    ]);
  }

  async usesOf(id: string): Promise<SessionUse[]> {
    return texts(await this.#send("HVALS", useKey(id))).flatMap(toUse);
  }

  /** Remembers a logout. @param mark {@link markKey}'s */
  async mark(mark: string, issuedMs: number): Promise<void> {
    const latestMs = Math.max(await this.markedMs(mark) ?? 0, issuedMs);
    await this.#send("SET", mark, String(latestMs), "PX", String(logoutRememberedMs));
  }

  /** When the latest logout of a mark was; undefined where none is remembered. */
  async markedMs(mark: string): Promise<number | undefined> {
    const endedMs = await this.#send("GET", mark);
    return typeof endedMs === "string" ? Number(endedMs) : undefined;
  }

  /** Uses something up until a time. @param key {@link usedKey}'s. @returns whether it was still there */
  async use(key: string, untilMs: number): Promise<boolean> {
    const leftMs = Math.max(1_000, Math.ceil(untilMs - this.#context.clock.nowMs()));
    return await this.#send("SET", key, "1", "NX", "PX", String(leftMs)) === "OK";
  }

  /** Tells all relays that a session has changed or ended. */
  async announce(id: string): Promise<void> {
    await this.#send("XADD", changesKey, "MAXLEN", "~", String(maxChanges), "*", "id", id);
  }

  async lastChange(): Promise<SessionChange | undefined> {
    return changesOf(await this.#send("XREVRANGE", changesKey, "+", "-", "COUNT", "1"))[0];
  }

  /** Changes after the one with a number, {@link maxChanges} at most. */
  async changesAfter(number: string): Promise<SessionChange[]> {
    const range = ["XRANGE", changesKey, `(${number}`, "+", "COUNT", String(maxChanges)];
    return changesOf(await this.#send(...range));
  }

  async #send(...command: readonly string[]): Promise<unknown> {
    return await this.#context.store.send(command);
  }
}

/** What a stream's ranges consist of: `[number, [field, value]]`. */
function changesOf(reply: unknown): SessionChange[] {
  if (!Array.isArray(reply)) return [];
  return reply.map(([number, [, id]]) => ({ number: String(number), id: String(id) }));
}

function texts(reply: unknown): string[] {
  return Array.isArray(reply) ? reply.map(String) : [];
}

/** What no relay has written counts for nothing. */
function toUse(text: string): SessionUse[] {
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

function refreshKey(id: string): string {
  return `${prefix}refresh:${id}`;
}

/** A set of sessions, which the store does not know by name. */
export async function setKey(key: string): Promise<string> {
  return `${prefix}set:${await digest(key)}`;
}

/** Where a logout is remembered. */
export async function markKey(mark: string): Promise<string> {
  return `${prefix}ended:${await digest(mark)}`;
}

/** Where it is remembered that something was used up. */
export async function usedKey(id: string): Promise<string> {
  return `${prefix}used:${await digest(id)}`;
}

async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex().slice(0, 32);
}
