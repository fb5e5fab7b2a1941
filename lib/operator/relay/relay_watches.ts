/**
 * Follows what changes at relays, by `/admin/v1/watch`, so that nothing waits for the next resync: an
 * entry that somebody deletes, one that is accepted, agents that come and go.
 */
import { delay, jitteredMs, within } from "../../kube/delay.ts";
import { jsonLines } from "../../kube/json_lines.ts";
import { SilenceDeadline } from "../../kube/silence.ts";
import type { Log } from "../../log.ts";
import { messageOf } from "../../message_of.ts";
import { connectionKey, type RelayAccess, type RelayFetch } from "./relay_api.ts";
import { HeldLine, NameBudget, TooManyNames, tooManyText, WatchedNames } from "./watched_names.ts";

/** A change at a relay. */
export interface RelayChange {
  readonly endpoint: string;
  /** The {@link connectionKey} of the watch: behind a proxy of its own, a tunnel may see another relay. */
  readonly connection: string;
  readonly kind: "clusters" | "services" | "policies" | "agents";
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  /** The cluster's id; the name of a service or policy; the cluster of an agent. */
  readonly name: string;
}

/** What is followed, and who is told. */
export interface RelayWatchesOptions {
  readonly fetch: RelayFetch;
  readonly changed: (change: RelayChange) => void;
  /** A watch has ended, or could not begin; it is tried again. */
  readonly ended?: () => void;
  readonly log: Log;
  readonly firstBackoffMs?: number | undefined;
  readonly maxBackoffMs?: number;
  /** A watch without a byte for so long is dead; bookmarks come each 10 s. */
  readonly silenceMs?: number;
  /** The budget for the names and lines that all watches together keep. */
  readonly budget?: NameBudget;
}

/** Watches at once; tunnels at further relays wait for their resync. */
const maxWatches = 64;
const defaultFirstBackoffMs = 1_000;
const defaultMaxBackoffMs = 60_000;
const defaultSilenceMs = 45_000;
const answerMs = 10_000;
const maxNameCharacters = 512;
/** The longest line of a watch: one entry or one agent. The API accepts no longer entry. */
const maxLineCharacters = 1024 * 1024;

/** One watch for each relay and token. */
export class RelayWatches {
  readonly #options: RelayWatchesOptions;
  readonly #budget: NameBudget;
  readonly #watches = new Map<string, AbortController>();
  readonly #running = new Set<Promise<void>>();

  constructor(options: RelayWatchesOptions) {
    this.#options = options;
    this.#budget = options.budget ?? new NameBudget();
  }

  /** Follows these and no others: the first of them, if there are too many. */
  follow(accesses: Iterable<RelayAccess>): void {
    const all = new Map([...accesses].map((access) => [keyOf(access), access]));
    const wanted = new Map([...all].slice(0, maxWatches));
    for (const [key, stop] of this.#watches) {
      if (wanted.has(key)) continue;
      stop.abort();
      this.#watches.delete(key);
    }
    for (const [key, access] of wanted) {
      if (this.#watches.has(key)) continue;
      const stop = new AbortController();
      this.#watches.set(key, stop);
      const running = this.#run(access, stop.signal).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  /** Ends all of them. */
  async stop(): Promise<void> {
    this.follow([]);
    await Promise.all(this.#running);
  }

  async #run(access: RelayAccess, signal: AbortSignal): Promise<void> {
    const { firstBackoffMs = defaultFirstBackoffMs, maxBackoffMs = defaultMaxBackoffMs } =
      this.#options;
    using watch = new Watch(access, this.#options, this.#budget);
    for (let failures = 0; !signal.aborted;) {
      let isTooMuch = false;
      try {
        await watch.once(signal);
      } catch (error) {
        if (signal.aborted) return;
        isTooMuch = error instanceof TooManyNames;
        this.#reportEnd(access, error);
      }
      if (signal.aborted) return;
      // To list everything again takes the relay and the operator time.
      failures = isTooMuch ? Infinity : watch.hasHeard ? 0 : failures;
      this.#options.ended?.();
      failures++;
      await delay(jitteredMs(failures, { firstMs: firstBackoffMs, maxMs: maxBackoffMs }), signal);
    }
  }

  #reportEnd({ endpoint }: RelayAccess, error: unknown): void {
    const { log } = this.#options;
    const fields = { endpoint, error: messageOf(error) };
    if (error instanceof TooManyNames) {
      log.warn("Can't watch a relay; its changes are seen with the next resync", fields);
    } else {
      // The relay's own requests tell of it in conditions.
      log.debug("A watch of a relay ended", fields);
    }
  }
}

function keyOf(access: RelayAccess): string {
  return JSON.stringify([connectionKey(access), access.token]);
}

/** One watch, begun again and again. */
class Watch {
  readonly #access: RelayAccess;
  readonly #options: RelayWatchesOptions;
  /** The version to resume after. */
  #version: string | undefined;
  /** What there was when it was last listed, to tell what has gone meanwhile. */
  #known: WatchedNames;
  /** What is listed now. */
  #listing: WatchedNames;
  readonly #line: HeldLine;
  #fail: ((error: Error) => void) | undefined;
  /** Whether the last try got an answer. */
  hasHeard = false;

  constructor(access: RelayAccess, options: RelayWatchesOptions, budget: NameBudget) {
    this.#access = access;
    this.#options = options;
    const holder = { evict: () => this.#evict() };
    this.#known = new WatchedNames(budget, holder);
    this.#listing = new WatchedNames(budget, holder);
    this.#line = new HeldLine(budget, holder);
  }

  /** Begins anew the next time. */
  #evict(): void {
    this.#forget();
    this.#fail?.(new TooManyNames(tooManyText));
  }

  #forget(): void {
    this.#version = undefined;
    this.#known.clear();
    this.#listing.clear();
    this.#line.holds(0);
  }

  [Symbol.dispose](): void {
    this.#forget();
  }

  get #origin(): Pick<RelayChange, "endpoint" | "connection"> {
    return { endpoint: this.#access.endpoint, connection: connectionKey(this.#access) };
  }

  /** Follows until the relay ends it. */
  async once(stopped: AbortSignal): Promise<void> {
    this.hasHeard = false;
    const ended = new AbortController();
    const silence = new SilenceDeadline(
      this.#options.silenceMs ?? defaultSilenceMs,
      () => ended.abort(),
    );
    const fail = (error: Error) => {
      silence.fail(error);
      ended.abort();
    };
    const end = () => fail(new Error("it was stopped"));
    this.#fail = fail;
    stopped.addEventListener("abort", end);
    try {
      const response = await this.#ask(ended, silence.failure);
      if (response === undefined) return;
      this.hasHeard = true;
      silence.heard();
      const { heard, failure } = silence;
      const lines = jsonLines(response.body, {
        ...{ heard, failure, maxCharacters: maxLineCharacters },
        holds: (characters) => this.#line.holds(characters),
      });
      await this.#read(lines, this.#version === undefined);
    } finally {
      this.#fail = undefined;
      this.#listing.clear();
      silence.stop();
      stopped.removeEventListener("abort", end);
      end();
    }
  }

  /** @returns undefined if the watch must begin anew */
  async #ask(ended: AbortController, failure: Promise<never>): Promise<Response | undefined> {
    const { endpoint, token, connection: _, ...tls } = this.#access;
    const query = this.#version === undefined ? "" : `?since=${encodeURIComponent(this.#version)}`;
    const response = await within(answerMs, async (late) => {
      late.addEventListener("abort", () => ended.abort(late.reason), { once: true });
      return await Promise.race([
        this.#options.fetch(`${endpoint}/admin/v1/watch${query}`, {
          method: "GET",
          headers: { accept: "application/x-ndjson", authorization: `Bearer ${token}` },
          signal: ended.signal,
        }, tls),
        failure,
      ]);
    });
    if (response.ok) return response;
    await response.body?.cancel();
    // Too old, or another relay's: everything is told anew.
    if (response.status !== 410) throw new Error(`the relay answered with ${response.status}`);
    this.#version = undefined;
    this.hasHeard = true;
    return undefined;
  }

  async #read(lines: AsyncGenerator<unknown>, isNew: boolean): Promise<void> {
    let isListing = isNew;
    for await (const line of lines) {
      const { type, kind, object, version } = line as Partial<Line>;
      if (typeof version === "string") this.#version = version;
      if (type === "BOOKMARK") {
        if (isListing) this.#listed();
        isListing = false;
        continue;
      }
      const name = nameOf(kind, object);
      if (type === undefined || kind === undefined || name === undefined) continue;
      const key = `${kind} ${name}`;
      if (isListing) {
        this.#remember(this.#listing, key);
        continue;
      }
      if (type === "DELETED") this.#known.delete(key);
      else this.#remember(this.#known, key);
      this.#options.changed({ ...this.#origin, type, kind, name });
    }
  }

  /** @throws {TooManyNames} then the watch begins anew */
  #remember(names: WatchedNames, name: string): void {
    try {
      names.add(name);
    } catch (error) {
      this.#forget();
      throw error;
    }
  }

  /** Tells what has come and gone since the last time that everything was told. */
  #listed(): void {
    const tell = (key: string, type: RelayChange["type"]) => {
      const space = key.indexOf(" ");
      const kind = key.slice(0, space) as RelayChange["kind"];
      this.#options.changed({ ...this.#origin, type, kind, name: key.slice(space + 1) });
    };
    const [before, after] = [this.#known, this.#listing];
    for (const key of before) if (!after.has(key)) tell(key, "DELETED");
    for (const key of after) if (!before.has(key)) tell(key, "ADDED");
    before.clear();
    [this.#known, this.#listing] = [after, before];
  }
}

interface Line {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly kind: RelayChange["kind"];
  readonly object: Readonly<Record<string, unknown>>;
  readonly version: string;
}

function nameOf(
  kind: RelayChange["kind"] | undefined,
  object: Readonly<Record<string, unknown>> | undefined,
): string | undefined {
  const name = kind === "agents" ? object?.["cluster"] : object?.["id"] ?? object?.["name"];
  return typeof name === "string" && name.length <= maxNameCharacters ? name : undefined;
}
