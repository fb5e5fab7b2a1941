/**
 * The store of the workers of one relay, in their parent's memory: the commands of Redis' that relays
 * send, with Redis' replies. Scripts are not among them.
 */

type Value =
  | { readonly kind: "string"; text: string }
  | { readonly kind: "hash"; readonly fields: Map<string, string> }
  | { readonly kind: "set"; readonly scores: Map<string, number> }
  | { readonly kind: "stream"; entries: StreamEntry[]; lastMs: number; lastNumber: number };

type Kind = Value["kind"];
type ValueOf<K extends Kind> = Extract<Value, { kind: K }>;

interface StreamEntry {
  readonly ms: number;
  readonly number: number;
  readonly fields: readonly string[];
}

interface Kept {
  readonly value: Value;
  /** The end of its time on this process's monotonic clock, in milliseconds. */
  untilMs: number;
}

/** Clocks, in milliseconds; tests have others. */
export interface StoreClocks {
  /** Since 1970. */
  epochMs(): number;
  monotonicMs(): number;
}

const systemClocks: StoreClocks = {
  epochMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

const ok = "OK";

/** Keys and their values, until they expire. */
export class MemoryStore {
  readonly #clocks: StoreClocks;
  readonly #kept = new Map<string, Kept>();

  constructor(clocks: StoreClocks = systemClocks) {
    this.#clocks = clocks;
  }

  /** Keys that are kept, with those that have expired and were not looked at since. */
  get size(): number {
    return this.#kept.size;
  }

  /** Executes a command. @throws with the text of Redis' error reply */
  execute([name = "", ...args]: readonly string[]): unknown {
    const command = this.#commands[name.toUpperCase()];
    if (!command) throw new Error(`ERR unknown command '${name}'`);
    return command(args);
  }

  /** Forgets what has expired. */
  sweep(): void {
    const nowMs = this.#clocks.monotonicMs();
    for (const [key, { untilMs }] of this.#kept) if (untilMs <= nowMs) this.#kept.delete(key);
  }

  readonly #commands: Readonly<Record<string, (args: readonly string[]) => unknown>> = {
    PING: () => "PONG",
    TIME: () => {
      const ms = this.#clocks.epochMs();
      return [String(Math.floor(ms / 1_000)), String(Math.floor(ms % 1_000) * 1_000)];
    },
    GET: ([key]) => this.#find(key!, "string")?.text ?? null,
    SET: ([key, text, ...options]) => this.#set(key!, text!, options),
    DEL: (keys) => keys.filter((key) => this.#live(key) && this.#kept.delete(key)).length,
    PEXPIRE: ([key, ms]) => {
      const kept = this.#live(key!);
      if (kept) kept.untilMs = this.#clocks.monotonicMs() + numberOf(ms);
      return kept ? 1 : 0;
    },
    HSET: ([key, ...pairs]) => {
      const { fields } = this.#findOrMake(key!, "hash");
      const before = fields.size;
      for (let at = 0; at + 1 < pairs.length; at += 2) fields.set(pairs[at]!, pairs[at + 1]!);
      return fields.size - before;
    },
    HDEL: ([key, ...names]) => this.#remove(key!, this.#find(key!, "hash")?.fields, names),
    HVALS: ([key]) => [...this.#find(key!, "hash")?.fields.values() ?? []],
    HEXISTS: ([key, name]) => this.#find(key!, "hash")?.fields.has(name!) ? 1 : 0,
    ZADD: ([key, ...pairs]) => {
      const { scores } = this.#findOrMake(key!, "set");
      const before = scores.size;
      for (let at = 0; at + 1 < pairs.length; at += 2) {
        scores.set(pairs[at + 1]!, numberOf(pairs[at]));
      }
      return scores.size - before;
    },
    ZREM: ([key, ...members]) => this.#remove(key!, this.#find(key!, "set")?.scores, members),
    ZCARD: ([key]) => this.#find(key!, "set")?.scores.size ?? 0,
    ZRANGE: ([key, first, last]) => this.#range(key!, numberOf(first), numberOf(last)),
    ZREMRANGEBYSCORE: ([key, least, most]) => {
      const scores = this.#find(key!, "set")?.scores;
      const [from, to] = [boundOf(least), boundOf(most)];
      const gone = [...scores ?? []].filter(([, score]) => score >= from && score <= to);
      return this.#remove(key!, scores, gone.map(([member]) => member));
    },
    XADD: (args) => this.#append(args),
    XRANGE: ([key, from, , ...count]) => this.#streamFrom(key!, from!).slice(0, countOf(count)),
    XREVRANGE: ([key, , , ...count]) => {
      return this.#streamFrom(key!, "-").reverse().slice(0, countOf(count));
    },
  };

  #set(key: string, text: string, options: readonly string[]): string | null {
    const known = this.#live(key);
    if (options.includes("NX") && known) return null;
    if (options.includes("XX") && !known) return null;
    const px = options.indexOf("PX");
    const untilMs = px === -1 ? Infinity : this.#clocks.monotonicMs() + numberOf(options[px + 1]);
    this.#kept.set(key, { value: { kind: "string", text }, untilMs });
    return ok;
  }

  /** Members by their place, the lowest score first; -1 is the last place. */
  #range(key: string, first: number, last: number): string[] {
    const scores = [...this.#find(key, "set")?.scores ?? []];
    scores.sort(([a, one], [b, other]) => one - other || (a < b ? -1 : 1));
    const end = last < 0 ? scores.length + last : last;
    return scores.slice(first, end + 1).map(([member]) => member);
  }

  /** `key MAXLEN ~ COUNT * field value…` */
  #append([key, , , most, , ...fields]: readonly string[]): string {
    const stream = this.#findOrMake(key!, "stream");
    const ms = Math.max(this.#clocks.epochMs(), stream.lastMs);
    stream.lastNumber = ms === stream.lastMs ? stream.lastNumber + 1 : 0;
    stream.lastMs = ms;
    stream.entries.push({ ms, number: stream.lastNumber, fields });
    const limit = numberOf(most);
    // As `~` allows: cutting it off each time would copy all of it each time.
    if (stream.entries.length > limit + limit / 10) stream.entries = stream.entries.slice(-limit);
    return `${ms}-${stream.lastNumber}`;
  }

  /** Entries behind an id that begins with `(`, or all of them for `-`. */
  #streamFrom(key: string, from: string): [string, readonly string[]][] {
    const entries = this.#find(key, "stream")?.entries ?? [];
    const [ms, number] = from === "-" ? [-1, 0] : from.slice(1).split("-").map(numberOf);
    return entries.filter((entry) => entry.ms > ms! || (entry.ms === ms && entry.number > number!))
      .map((entry) => [`${entry.ms}-${entry.number}`, entry.fields]);
  }

  #remove(
    key: string,
    members: Map<string, unknown> | undefined,
    names: readonly string[],
  ): number {
    const removed = names.filter((name) => members?.delete(name)).length;
    if (members?.size === 0) this.#kept.delete(key);
    return removed;
  }

  #live(key: string): Kept | undefined {
    const kept = this.#kept.get(key);
    if (!kept || kept.untilMs > this.#clocks.monotonicMs()) return kept;
    this.#kept.delete(key);
    return undefined;
  }

  #find<K extends Kind>(key: string, kind: K): ValueOf<K> | undefined {
    const value = this.#live(key)?.value;
    if (value && value.kind !== kind) {
      throw new Error("WRONGTYPE Operation against a key holding the wrong kind of value");
    }
    return value as ValueOf<K> | undefined;
  }

  #findOrMake<K extends Kind>(key: string, kind: K): ValueOf<K> {
    const found = this.#find(key, kind);
    if (found) return found;
    const value = emptyValues[kind]() as ValueOf<K>;
    this.#kept.set(key, { value, untilMs: Infinity });
    return value;
  }
}

const emptyValues: Readonly<Record<Kind, () => Value>> = {
  string: () => ({ kind: "string", text: "" }),
  hash: () => ({ kind: "hash", fields: new Map() }),
  set: () => ({ kind: "set", scores: new Map() }),
  stream: () => ({ kind: "stream", entries: [], lastMs: 0, lastNumber: 0 }),
};

function numberOf(text: string | undefined): number {
  const number = Number(text);
  if (text === undefined || Number.isNaN(number)) {
    throw new Error("ERR value is not an integer or out of range");
  }
  return number;
}

function boundOf(text: string | undefined): number {
  if (text === "-inf") return -Infinity;
  return text === "+inf" ? Infinity : numberOf(text);
}

/** `COUNT n`, or nothing for all. */
function countOf([, count]: readonly string[]): number {
  return count === undefined ? Infinity : numberOf(count);
}
