/**
 * The admin API's entries in the Redis that relays share. Every change is made only if the store is as
 * the relay that makes it knows it, so all relays agree on one order, and what one has checked holds.
 *
 * Each entry is sealed with the relays' token: whoever can write to Redis, and nothing else, can remove
 * entries but not make up any. A store that comes back with less than a relay knows, after a failover
 * or a restart without its data, is filled again from what that relay has.
 */
import type { StoredEntry } from "../domain/admin.ts";
import { type EntryKind, entryKinds } from "../domain/admin.ts";
import { formatStored, parseStored } from "../config/entries/stored_entries.ts";
import type { Log } from "../log.ts";
import { messageOf } from "../message_of.ts";
import type { Store } from "../relay/directory/store.ts";
import type { RelayTokens } from "../relay/hop/relay_tokens.ts";
import type { CommitResult, EntryChange, EntryStore } from "./entry_store.ts";
import { EntrySeal } from "./entry_seal.ts";

/** The braces put both keys into one slot of a Redis Cluster, so that a script may use both. */
const revisionKey = "culvert:{admin}:revision";
const entriesKey = "culvert:{admin}:entries";

/** How often a relay looks for changes of the others, in milliseconds. */
const pollMs = 500;
/** How long the store may take to answer, in milliseconds. */
const replyMs = 2_000;
/** How long to wait for a replica to confirm a change, in milliseconds; less while there seems to be none. */
const replicaMs = 1_000;
const noReplicaMs = 20;
/** How long a relay that starts waits for its store, in milliseconds. */
const startMs = 3_000;

const loadScript = "return {redis.call('GET', KEYS[1]), redis.call('HGETALL', KEYS[2])}";

/** ARGV: the revision that is expected, the next one, and whether all entries are replaced; then pairs. */
const commitScript = `
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[3] == 'all' then redis.call('DEL', KEYS[2]) end
for index = 4, #ARGV, 2 do
  if ARGV[index + 1] == '' then redis.call('HDEL', KEYS[2], ARGV[index])
  else redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1]) end
end
redis.call('SET', KEYS[1], ARGV[2])
return 1`;

/** What shared entries are lent. */
export interface SharedEntriesContext {
  readonly store: Store;
  readonly tokens: RelayTokens;
  readonly log: Log;
  /** Whether another server may take over, so that a change should be there too. */
  readonly hasReplicas?: boolean;
}

/** Entries in Redis. */
export class SharedEntries implements EntryStore {
  readonly name = "redis";
  readonly #store: Store;
  readonly #log: Log;
  readonly #tokens: RelayTokens;
  readonly #seal: EntrySeal;
  /** What this relay knows the store to hold; undefined before it was read. */
  #revision: string | undefined;
  #known = new Map<string, StoredEntry>();
  /** Whether this relay could read all that it found. */
  #hasAll = false;
  /** The relays' token that entries were last looked at with. A secret. */
  #sealedWith = "";
  #changed: () => Promise<void> = () => Promise.resolve();
  #timer: ReturnType<typeof setInterval> | undefined;
  #isPolling = false;
  #isAway = false;
  readonly #hasReplicas: boolean;
  /** Whether a replica took the last change. */
  #isReplicated = true;

  constructor({ store, tokens, log, hasReplicas = false }: SharedEntriesContext) {
    this.#hasReplicas = hasReplicas;
    this.#store = store;
    this.#log = log;
    this.#tokens = tokens;
    this.#seal = new EntrySeal(tokens);
  }

  async load(): Promise<readonly StoredEntry[]> {
    if (this.#revision === undefined) await this.#waitForStore();
    try {
      await this.#read();
    } catch (error) {
      // A relay that starts does so without its entries, and reads them once the store is there.
      if (this.#revision !== undefined) throw error;
      this.#away(error);
    }
    return [...this.#known.values()];
  }

  async commit(changes: readonly EntryChange[]): Promise<CommitResult> {
    const before = this.#revision;
    if (before === undefined) throw new Error("The store has not been read yet");
    const pairs = await Promise.all(changes.map(async ({ kind, name, entry }) => [
      fieldOf(kind, name),
      entry ? await this.#seal.seal(fieldOf(kind, name), formatStored(entry)) : "",
    ]));
    const next = nextRevision(before);
    if (!await this.#write(before, next, "some", pairs.flat())) return { kind: "stale" };
    this.#revision = next;
    for (const { kind, name, entry } of changes) {
      if (entry) this.#known.set(fieldOf(kind, name), entry);
      else this.#known.delete(fieldOf(kind, name));
    }
    return { kind: "done", failed: new Map() };
  }

  follow(changed: () => Promise<void>): void {
    this.#changed = changed;
    this.#timer = setInterval(() => void this.poll(), pollMs);
  }

  close(): Promise<void> {
    clearInterval(this.#timer);
    this.#store.close();
    return Promise.resolve();
  }

  /** Looks whether others have changed something; the timer calls it. Never rejects. */
  async poll(): Promise<void> {
    if (this.#isPolling) return;
    this.#isPolling = true;
    try {
      const revision = await this.#send(["GET", revisionKey]);
      const isNew = String(revision ?? "") !== this.#revision ||
        this.#sealedWith !== this.#tokens.sent;
      // Before it was read, that it answers says little: it may refuse what reading takes.
      if (this.#revision !== undefined) this.#there();
      if (isNew) void this.#changed();
    } catch (error) {
      this.#away(error);
    } finally {
      this.#isPolling = false;
    }
  }

  /** The connection may still be on its way. */
  async #waitForStore(): Promise<void> {
    const deadlineMs = performance.now() + startMs;
    while (performance.now() < deadlineMs) {
      try {
        await this.#send(["PING"]);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  async #read(): Promise<void> {
    const reply = await this.#send(["EVAL", loadScript, "2", revisionKey, entriesKey]);
    const [revision, fields] = Array.isArray(reply) ? reply : [];
    const found = String(revision ?? "");
    if (this.#hasAll && this.#isBehind(found) && await this.#restore(found)) return;
    const known = new Map<string, StoredEntry>();
    const old: string[] = [];
    const list = Array.isArray(fields) ? fields.map(String) : [];
    for (let at = 0; at + 1 < list.length; at += 2) {
      const [field, sealed] = [list[at]!, list[at + 1]!];
      const opened = await this.#open(field, sealed);
      if (!opened) continue;
      known.set(field, opened.entry);
      if (!opened.isCurrent) old.push(field, await this.#seal.seal(field, opened.text));
    }
    this.#hasAll = known.size === list.length / 2;
    this.#known = known;
    this.#revision = found;
    this.#there();
    await this.#sealAnew(old);
  }

  /** Seals entries again after a change of the relays' token, so that they do not need the former one. */
  async #sealAnew(old: readonly string[]): Promise<void> {
    const isDue = this.#sealedWith !== this.#tokens.sent;
    this.#sealedWith = this.#tokens.sent;
    if (!isDue || old.length === 0) return;
    const next = nextRevision(this.#revision!);
    if (await this.#write(this.#revision!, next, "some", old)) this.#revision = next;
  }

  /** Whether the store has lost changes that this relay has seen. */
  #isBehind(found: string): boolean {
    return this.#revision !== undefined && numberOf(found) < numberOf(this.#revision);
  }

  /** @returns false when somebody else was faster */
  async #restore(found: string): Promise<boolean> {
    const entries = [...this.#known];
    const pairs = await Promise.all(entries.map(async ([field, entry]) => [
      field,
      await this.#seal.seal(field, formatStored(entry)),
    ]));
    const next = nextRevision(this.#revision!);
    if (!await this.#write(found, next, "all", pairs.flat())) return false;
    this.#revision = next;
    this.#log.warn("The store of the admin API had lost changes; they are restored", {
      entries: entries.length,
    });
    return true;
  }

  async #open(
    field: string,
    sealed: string,
  ): Promise<{ entry: StoredEntry; text: string; isCurrent: boolean } | undefined> {
    const opened = await this.#seal.open(field, sealed);
    const kind = entryKinds.find((kind) => field.startsWith(`${kind}/`));
    try {
      if (!opened || !kind) throw new Error("it is not sealed with a token of the relays");
      const entry = parseStored(kind, opened.text);
      if (fieldOf(kind, entry.name) === field) return { entry, ...opened };
      throw new Error("it is another entry");
    } catch (error) {
      this.#log.warn("Ignored an entry in Redis that no relay has written", {
        ...{ entry: field.slice(0, 300), reason: messageOf(error) },
      });
      return undefined;
    }
  }

  async #write(
    before: string,
    next: string,
    what: "some" | "all",
    pairs: readonly string[],
  ): Promise<boolean> {
    const script = ["EVAL", commitScript, "2", revisionKey, entriesKey];
    // Sent together, they take one connection; a replica is waited for on that of the change.
    const [reply] = await Promise.all([
      this.#send([...script, before, next, what, ...pairs]),
      this.#hasReplicas ? this.#waitForReplica() : undefined,
    ]);
    return reply === 1;
  }

  /** The server answers before its replicas have a change, and one of them may take its place. */
  async #waitForReplica(): Promise<void> {
    const waitMs = this.#isReplicated ? replicaMs : noReplicaMs;
    let reason = "none was there in time";
    try {
      const count = Number(await this.#send(["WAIT", "1", String(waitMs)]));
      this.#isReplicated ||= count > 0;
      if (count > 0) return;
    } catch (error) {
      reason = messageOf(error);
    }
    if (this.#isReplicated) {
      this.#log.warn("No replica of Redis has confirmed a change of the admin API", { reason });
    }
    this.#isReplicated = false;
  }

  async #send(command: readonly string[]): Promise<unknown> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(new Error(`No reply within ${replyMs} ms`)),
      replyMs,
    );
    try {
      return await Promise.race([this.#store.send(command), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #away(error: unknown): void {
    if (this.#isAway) return;
    this.#isAway = true;
    this.#log.error("The store of the admin API is unavailable; entries in use stay", {
      error: messageOf(error),
    });
  }

  #there(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#log.info("The store of the admin API is available again");
  }
}

function fieldOf(kind: EntryKind, name: string): string {
  return `${kind}/${name}`;
}

/** Counts changes; what is random tells two histories apart that count the same. */
function nextRevision(revision: string): string {
  return `${numberOf(revision) + 1}-${crypto.randomUUID()}`;
}

function numberOf(revision: string): number {
  return revision === "" ? 0 : Number.parseInt(revision) || 0;
}
