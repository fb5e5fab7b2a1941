/**
 * Follows what changes at relays, by `/admin/v1/watch`, so that nothing waits for the next resync: an
 * entry that somebody deletes, one that is accepted, agents that come and go.
 */
import { delay, jitteredMs, within } from "../../kube/delay.ts";
import { jsonLines } from "../../kube/json_lines.ts";
import { SilenceDeadline } from "../../kube/silence.ts";
import type { Log } from "../../log.ts";
import { messageOf } from "../../message_of.ts";
import { type RelayAccess, type RelayFetch, wayOf } from "./relay_api.ts";

/** A change at a relay. */
export interface RelayChange {
  readonly endpoint: string;
  /** How it was learned, as {@link wayOf}: a proxy that somebody names may tell anything of a relay. */
  readonly way: string;
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
  readonly firstBackoffMs?: number;
  readonly maxBackoffMs?: number;
  /** A watch without a byte for so long is dead; bookmarks come each 10 s. */
  readonly silenceMs?: number;
}

/** Watches at once; tunnels at further relays wait for their resync. */
const maxWatches = 64;
const defaultFirstBackoffMs = 1_000;
const defaultMaxBackoffMs = 60_000;
const defaultSilenceMs = 45_000;
const answerMs = 10_000;
/** Whoever makes a Tunnel says which relay is followed: what one relay tells takes so much memory at most. */
const maxNames = 100_000;
const maxNameCharacters = 512;

/** One watch for each relay and token. */
export class RelayWatches {
  readonly #options: RelayWatchesOptions;
  readonly #watches = new Map<string, AbortController>();
  readonly #running = new Set<Promise<void>>();

  constructor(options: RelayWatchesOptions) {
    this.#options = options;
  }

  /** Follows these and no others. */
  follow(accesses: Iterable<RelayAccess>): void {
    const wanted = new Map([...accesses].map((access) => [keyOf(access), access]));
    for (const [key, stop] of this.#watches) {
      if (wanted.has(key)) continue;
      stop.abort();
      this.#watches.delete(key);
    }
    for (const [key, access] of wanted) {
      if (this.#watches.has(key) || this.#watches.size >= maxWatches) continue;
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
    const watch = new Watch(access, this.#options);
    for (let failures = 0; !signal.aborted;) {
      try {
        await watch.once(signal);
        failures = watch.hasHeard ? 0 : failures;
      } catch (error) {
        if (signal.aborted) return;
        failures = watch.hasHeard ? 0 : failures;
        // The relay's own requests tell of it in conditions.
        this.#options.log.debug("A watch of a relay ended", {
          endpoint: access.endpoint,
          reason: messageOf(error),
        });
      }
      if (signal.aborted) return;
      this.#options.ended?.();
      failures++;
      await delay(jitteredMs(failures, { firstMs: firstBackoffMs, maxMs: maxBackoffMs }), signal);
    }
  }
}

function keyOf(access: RelayAccess): string {
  return JSON.stringify([wayOf(access), access.token]);
}

/** One watch, begun again and again. */
class Watch {
  readonly #access: RelayAccess;
  readonly #options: RelayWatchesOptions;
  /** Behind which to go on. */
  #version: string | undefined;
  /** What there was when it was last listed, to tell what has gone meanwhile. */
  #known = new Set<string>();
  /** Whether the last try got an answer. */
  hasHeard = false;

  constructor(access: RelayAccess, options: RelayWatchesOptions) {
    this.#access = access;
    this.#options = options;
  }

  get #origin(): Pick<RelayChange, "endpoint" | "way"> {
    return { endpoint: this.#access.endpoint, way: wayOf(this.#access) };
  }

  /** Follows until the relay ends it. */
  async once(stopped: AbortSignal): Promise<void> {
    this.hasHeard = false;
    const ended = new AbortController();
    const silence = new SilenceDeadline(
      this.#options.silenceMs ?? defaultSilenceMs,
      () => ended.abort(),
    );
    const end = () => {
      silence.fail(new Error("it was stopped"));
      ended.abort();
    };
    stopped.addEventListener("abort", end);
    try {
      const response = await this.#ask(ended, silence.failure);
      if (response === undefined) return;
      this.hasHeard = true;
      silence.heard();
      const listed = this.#version === undefined ? new Set<string>() : undefined;
      await this.#read(jsonLines(response.body, silence), listed);
    } finally {
      silence.stop();
      stopped.removeEventListener("abort", end);
      end();
    }
  }

  /** @returns undefined if the watch must begin anew */
  async #ask(ended: AbortController, failure: Promise<never>): Promise<Response | undefined> {
    const { endpoint, token, ...tls } = this.#access;
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

  async #read(lines: AsyncGenerator<unknown>, listed: Set<string> | undefined): Promise<void> {
    let isListing = listed !== undefined;
    for await (const line of lines) {
      const { type, kind, object, version } = line as Partial<Line>;
      if (typeof version === "string") this.#version = version;
      if (type === "BOOKMARK") {
        if (isListing) this.#listed(listed!);
        isListing = false;
        continue;
      }
      const name = nameOf(kind, object);
      if (type === undefined || kind === undefined || name === undefined) continue;
      const key = `${kind} ${name}`;
      if (isListing) {
        this.#remember(listed!, key);
        continue;
      }
      if (type === "DELETED") this.#known.delete(key);
      else this.#remember(this.#known, key);
      this.#options.changed({ ...this.#origin, type, kind, name });
    }
  }

  /** @throws when there are more than any relay has; then the watch begins anew */
  #remember(names: Set<string>, name: string): void {
    if (names.size >= maxNames && !names.has(name)) {
      this.#version = undefined;
      throw new Error(`the relay tells of more than ${maxNames} objects`);
    }
    names.add(name);
  }

  /** Tells what has come and gone since the last time that everything was told. */
  #listed(listed: Set<string>): void {
    const tell = (key: string, type: RelayChange["type"]) => {
      const space = key.indexOf(" ");
      const kind = key.slice(0, space) as RelayChange["kind"];
      this.#options.changed({ ...this.#origin, type, kind, name: key.slice(space + 1) });
    };
    for (const key of this.#known) if (!listed.has(key)) tell(key, "DELETED");
    for (const key of listed) if (!this.#known.has(key)) tell(key, "ADDED");
    this.#known = listed;
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
