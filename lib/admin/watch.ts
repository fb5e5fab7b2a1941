/** `GET /admin/v1/watch`: changes as they happen, one JSON object a line (NDJSON). */
import { dateField } from "../http1/date.ts";
import { field } from "../http1/head.ts";
import type { Exchange } from "../net/exchange.ts";
import type { RelayMetrics } from "../relay/telemetry/metrics.ts";
import { answer } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import type { ApiRequest } from "./api_request.ts";
import type { DigestText } from "./etag.ts";
import type { AdminEvent, EventLog } from "./event_log.ts";
import type { Scope } from "./scope.ts";

/** What a watch shows. */
export interface WatchContext {
  readonly log: EventLog;
  readonly digest: DigestText;
  /** All there is, for those who begin. */
  readonly snapshot: (scope: Scope) => AdminEvent[];
  readonly metrics: Pick<RelayMetrics, "limitHit" | "observeFollowers">;
  /** Whether the relay stops. */
  readonly isStopping: () => boolean;
}

/** The time between two bookmarks, in milliseconds. Proxies end connections that are silent. */
const bookmarkMs = 10_000;
/** Watches at once. */
const maxWatches = 256;
/** Bytes of a digest that are enough to tell one token's scopes apart. */
const viewBytes = 8;

/** Serves watches until their clients leave, their tokens end or the relay stops. */
export class Watches {
  readonly #context: WatchContext;
  readonly #open = new Set<Watch>();

  constructor(context: WatchContext) {
    this.#context = context;
    context.metrics.observeFollowers("watch", () => this.#open.size);
  }

  /** @throws {ApiError} 410 for a version that can't be gone on from, 429 */
  serve({ exchange, scope, query, isStillAllowed }: ApiRequest): Promise<void> {
    if (this.#open.size >= maxWatches) {
      this.#context.metrics.limitHit("admin-watches");
      throw new ApiError(429, "too_many_watches", `there are ${maxWatches} watches already`, {}, {
        "Retry-After": "5",
      });
    }
    const view = this.#viewOf(scope);
    const since = this.#logVersion(query("since"), view);
    if (exchange.head.method === "HEAD") {
      answer(exchange, 200, undefined);
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const watch = new Watch(this.#context, { exchange, scope, since, view, isStillAllowed }, () => {
      this.#open.delete(watch);
      resolve();
    });
    this.#open.add(watch);
    watch.begin();
    return promise;
  }

  /** The end of a scope's versions: a client whose scope has changed since may have missed events. */
  #viewOf(scope: Scope): string {
    return `-${this.#context.digest(scope.view).subarray(0, viewBytes).toHex()}`;
  }

  /** A client's version as the log has it. @throws {ApiError} 410 */
  #logVersion(since: string | undefined, view: string): string | undefined {
    if (since === undefined) return undefined;
    const version = since.endsWith(view) ? since.slice(0, -view.length) : "";
    if (this.#context.log.since(version)) return version;
    const message = "the version is too old, another relay's or another scope's; " +
      "watch again without since";
    throw new ApiError(410, "expired", message);
  }

  /** Ends all of them. */
  close(): void {
    for (const watch of [...this.#open]) watch.end();
  }
}

interface Watcher {
  readonly exchange: Exchange;
  readonly scope: Scope;
  readonly since: string | undefined;
  readonly view: string;
  readonly isStillAllowed: () => boolean;
}

/** One watch. */
class Watch {
  readonly #context: WatchContext;
  readonly #watcher: Watcher;
  readonly #ended: () => void;
  #unfollow: () => void = () => {};
  #timer: ReturnType<typeof setInterval> | undefined;
  /** The version of the last event that was written or left out. */
  #version: string;
  #isFull = false;
  #isOver = false;

  constructor(context: WatchContext, watcher: Watcher, ended: () => void) {
    this.#context = context;
    this.#watcher = watcher;
    this.#ended = ended;
    this.#version = watcher.since ?? context.log.version;
  }

  begin(): void {
    const { exchange, scope, since } = this.#watcher;
    exchange.onAborted = () => this.#over();
    exchange.onDrain = () => {
      this.#isFull = false;
      this.#write();
    };
    const fields = [
      field("Content-Type", "application/x-ndjson"),
      field("Cache-Control", "no-store"),
      dateField(),
    ];
    exchange.respond(200, "OK", fields, "content");
    if (since === undefined) {
      for (const event of this.#context.snapshot(scope)) this.#line(event);
      this.#bookmark();
    }
    this.#unfollow = this.#context.log.follow(() => this.#write());
    this.#timer = setInterval(() => this.#check(), bookmarkMs);
    this.#write();
  }

  /** Ends it in order; the client can go on from the last version. */
  end(): void {
    if (this.#isOver) return;
    this.#over();
    this.#watcher.exchange.finish();
  }

  #check(): void {
    if (this.#context.isStopping() || !this.#watcher.isStillAllowed()) return this.end();
    if (!this.#isFull) this.#bookmark();
  }

  /** Writes what is new; a client that does not read is told when it does, from the log. */
  #write(): void {
    if (this.#isFull || this.#isOver) return;
    if (!this.#watcher.isStillAllowed()) return this.end();
    const events = this.#context.log.since(this.#version);
    // It has read so slowly that it has missed some.
    if (!events) return this.end();
    const { scope, view } = this.#watcher;
    for (const { version, event } of events) {
      this.#version = version;
      const seen = seenBy(scope, event);
      if (!seen) continue;
      this.#line({ ...seen, version: `${version}${view}` });
      if (this.#isFull) return;
    }
  }

  #bookmark(): void {
    this.#line({ type: "BOOKMARK", version: `${this.#version}${this.#watcher.view}` });
  }

  #line(value: object): void {
    const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
    if (!this.#watcher.exchange.write(bytes)) this.#isFull = true;
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#unfollow();
    this.#ended();
  }
}

/** An event as a scope sees it: an entry that comes into it is added, one that leaves it is deleted. */
function seenBy(scope: Scope, { type, kind, object, before }: AdminEvent): AdminEvent | undefined {
  const isSeen = scope.sees(kind, object);
  const wasSeen = before === undefined ? isSeen : scope.sees(kind, before);
  if (isSeen) return { type: wasSeen ? type : "ADDED", kind, object };
  return before !== undefined && wasSeen ? { type: "DELETED", kind, object: before } : undefined;
}
