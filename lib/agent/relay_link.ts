/** One of an agent's connections to its relays: a session after the other, each with its own waits. */
import { countFault, errorFields } from "../faults.ts";
import type { Log } from "../log.ts";
import { messageOf } from "../message_of.ts";
import type { Announcement, Notice } from "../protocol/announcement.ts";
import { CloseCode } from "../protocol/errors.ts";
import { Session } from "../protocol/session.ts";
import { endReason, type SessionEnd } from "../protocol/session_end.ts";
import type { Settings } from "../protocol/settings.ts";
import type { TunnelSocket } from "../protocol/socket.ts";
import type { Stream } from "../protocol/stream.ts";
import { backoffMs, inWords, refusedBackoffMs } from "./backoff.ts";
import type { AgentMetrics } from "./metrics.ts";
import { RelayConnectionError, RelayRefusedError } from "./relay_errors.ts";

/** How a link reaches relays. */
export interface LinkConfig {
  /** The relay's URL, for the log. */
  serverUrl: string;
  /** The URL of the proxy that a connection opened now goes through, without credentials. */
  proxy?: () => string | undefined;
  /** The longest wait between attempts, in milliseconds. */
  maxRetryMs: number;
  /** Connects to the relay. @throws {RelayRefusedError} when the relay says no. */
  dialRelay: (signal: AbortSignal) => Promise<TunnelSocket>;
  random?: () => number;
}

/** What a link needs of its agent. */
export interface LinkHost {
  readonly config: LinkConfig;
  readonly log: Log;
  readonly metrics: AgentMetrics;
  /** What the agent says of itself; the link adds its slot. */
  readonly settings: Settings;
  /** Comes when the agent stops. */
  readonly stopped: AbortSignal;
  /** What relays are told of its targets. */
  announcement(): Announcement;
  /** A relay has opened a stream. */
  opened(stream: Stream, target: string, kind: string): void;
  /** A relay has something for the log. */
  noticed(notice: Notice): void;
}

/** A session that lasted this long was a stable one: the next wait starts small again. */
const stableMs = 30_000;
/** A relay that speaks version 2 says so at once; one that is silent this long speaks version 1. */
const settingsWaitMs = 2_000;
/** How long a new session may take to answer its first Ping before the one before it drains. */
const answerWaitMs = 5_000;
const answerLookMs = 20;
/** The longest time that a timer can have: a session that was replaced ends when it is idle. */
const forMs = 2 ** 31 - 1;

/** Keeps one session up, until its agent stops. */
export class RelayLink {
  readonly #host: LinkHost;
  readonly #log: Log;
  readonly #slot: number;
  /** How many connections the agent has. */
  readonly #count: number;
  readonly #random: () => number;
  /** The connection's number for the log, if the agent has several. */
  readonly #connection: number | undefined;
  readonly #sessions = new Set<Session>();
  /** Those that end because a newer one has taken over. */
  readonly #retired = new WeakSet<Session>();
  #attempt = 0;
  #hasTried = false;
  /** Refusals in a row, and when the first of them came. */
  #refusals = 0;
  #refusedAtMs = 0;
  /** What the relay said by its last alert, while it ends connections. */
  #alert: string | undefined;
  /** Ends the wait before the next attempt. */
  #waiting = new AbortController();
  /** How often the link was asked to connect anew. */
  #renewals = 0;
  /** Has the present session give way to a next one; undefined while there is none. */
  #giveWay: (() => void) | undefined;

  /** @param slot Which of `count` connections this is, from 0. */
  constructor(host: LinkHost, slot: number, count: number) {
    this.#host = host;
    this.#log = host.log;
    this.#random = host.config.random ?? Math.random;
    this.#slot = slot;
    this.#count = count;
    this.#connection = count === 1 ? undefined : slot;
  }

  /** Sessions that are up or still have something open. */
  get sessions(): ReadonlySet<Session> {
    return this.#sessions;
  }

  /** Whether a session is up that takes new requests. */
  get isConnected(): boolean {
    for (const session of this.#sessions) {
      if (!session.isClosed && !session.isDraining) return true;
    }
    return false;
  }

  /**
   * Connects anew, with the credentials that there are now. The session before it goes on until the
   * new one serves; then it takes no new requests, finishes what it has, and ends.
   */
  renew(): void {
    this.#renewals++;
    this.#refusals = 0;
    this.#attempt = 0;
    if (this.#giveWay) this.#giveWay();
    else this.#waiting.abort();
  }

  /** Tries again now, with no attempt counted, unless a session is up. */
  hurry(): void {
    if (this.isConnected) return;
    this.#attempt = 0;
    this.#waiting.abort();
  }

  /**
   * The relay would end a session whose connection has the number of a newer one.
   *
   * @param renewals How often the link had been asked to connect anew when the session was dialled.
   */
  #settings(renewals: number): Settings {
    const slot = this.#slot + this.#count * (renewals % 2);
    return this.#count === 1 && slot === 0 ? this.#host.settings : { ...this.#host.settings, slot };
  }

  /** Connects, serves and connects again, until the agent stops. */
  async run(): Promise<void> {
    while (!this.#host.stopped.aborted) {
      const delayMs = await this.#connectOnce();
      if (this.#host.stopped.aborted) break;
      this.#host.metrics.reconnecting();
      this.#waiting = new AbortController();
      await sleep(delayMs, AbortSignal.any([this.#host.stopped, this.#waiting.signal]));
    }
  }

  /** One session, until it ends or drains. @returns how long to wait before the next attempt. */
  async #connectOnce(): Promise<number> {
    const { serverUrl: server, proxy, dialRelay } = this.#host.config;
    const about = { server, proxy: proxy?.(), connection: this.#connection };
    this.#log[this.#hasTried ? "debug" : "info"]("Connecting to relay", about);
    this.#hasTried = true;
    const startMs = performance.now();
    const renewals = this.#renewals;
    try {
      const socket = await dialRelay(this.#host.stopped);
      return await this.#runSession(socket, startMs, renewals);
    } catch (error) {
      if (this.#host.stopped.aborted) return 0;
      const delayMs = this.#failed(error, startMs, about.proxy);
      // The credentials were those from before.
      return renewals === this.#renewals ? delayMs : 0;
    }
  }

  /** Says why there is no session. @returns how long to wait before the next attempt. */
  #failed(error: unknown, startMs: number, proxy: string | undefined): number {
    const { serverUrl: server, maxRetryMs } = this.#host.config;
    const retryAfterMs = error instanceof RelayRefusedError ? error.details.retryAfterMs ?? 0 : 0;
    // What a relay asks for holds within the agent's own limit.
    const atLeast = (ms: number): number => Math.max(ms, Math.min(retryAfterMs, maxRetryMs));
    if (error instanceof RelayRefusedError && [401, 403, 429].includes(error.status)) {
      const delayMs = atLeast(this.#nextRefusedDelayMs());
      this.#refused(error.status, delayMs);
      return delayMs;
    }
    this.#refusals = 0;
    const delayMs = atLeast(this.#nextDelayMs(startMs));
    this.#log.warn("Could not connect to relay", {
      server,
      proxy,
      error: this.#textOf(error),
      next_try: inWords(delayMs),
      retry_in_ms: Math.round(delayMs),
      connection: this.#connection,
    });
    return delayMs;
  }

  /** The error's text. An alert's text also counts for later attempts, whose alert a reset may overtake. */
  #textOf(error: unknown): string {
    const text = messageOf(error);
    const kind = error instanceof RelayConnectionError ? error.kind : undefined;
    if (kind === "silent") return this.#alert ?? text;
    this.#alert = kind === "alert" ? text : undefined;
    return text;
  }

  #nextRefusedDelayMs(): number {
    if (this.#refusals === 0) this.#refusedAtMs = performance.now();
    const refusals = { count: this.#refusals++, sinceMs: performance.now() - this.#refusedAtMs };
    return refusedBackoffMs(refusals, this.#host.config.maxRetryMs, this.#random);
  }

  /** Says what to do about a refusal. */
  #refused(status: number, delayMs: number): void {
    const about = {
      server: this.#host.config.serverUrl,
      status,
      next_try: inWords(delayMs),
      retry_in_ms: Math.round(delayMs),
      connection: this.#connection,
    };
    if (status === 403) {
      this.#log.error(
        "The relay refused this agent's certificate; check --client-cert against certificateName",
        about,
      );
      return;
    }
    this.#log.error(
      "The relay refused this agent; check --token against the relay's clusters file",
      about,
    );
  }

  /** @param startMs When the attempt or session began that is over. */
  #nextDelayMs(startMs: number): number {
    if (performance.now() - startMs > stableMs) this.#attempt = 0;
    return backoffMs(this.#attempt++, this.#host.config.maxRetryMs, this.#random);
  }

  /**
   * A session until it ends, or goes on without new streams.
   *
   * @param renewals As {@link #settings} has it.
   * @returns as `#connectOnce`.
   */
  async #runSession(socket: TunnelSocket, startMs: number, renewals: number): Promise<number> {
    const { stopped } = this.#host;
    this.#refusals = 0;
    this.#alert = undefined;
    const draining = Promise.withResolvers<undefined>();
    const replaced = [...this.#sessions].filter((it) => !it.isDraining);
    const session = this.#createSession(socket, renewals, () => draining.resolve(undefined));
    this.#sessions.add(session);
    this.#announce(session);
    if (replaced.length > 0) void this.#takeOver(session, replaced);
    const renewed = Promise.withResolvers<"renewed">();
    this.#giveWay = () => renewed.resolve("renewed");
    // The credentials have changed while it was dialled with those from before.
    if (renewals !== this.#renewals) this.#giveWay();
    const ended = session.closed.then((end) => this.#sessionEnded(session, end, startMs));
    if (stopped.aborted) session.close(CloseCode.GoingAway, "The agent stops");
    const end = await Promise.race([ended, draining.promise, renewed.promise]);
    this.#giveWay = undefined;
    if (stopped.aborted) return 0;
    if (typeof end === "number") return end;
    // The next attempt may be far off when this session ends. A relay that drains may take no new
    // session until it is gone, and then be back at once.
    ended.then(() => this.hurry());
    if (end === "renewed") return 0;
    this.#log.info("The relay is draining; reconnecting", { connection: this.#connection });
    // It may be gone soon; its successor is there already.
    return this.#random() * 200;
  }

  #createSession(socket: TunnelSocket, renewals: number, draining: () => void): Session {
    return new Session(socket, {
      role: "agent",
      settings: this.#settings(renewals),
      offersVersion2: true,
      announcement: this.#host.announcement(),
      defer: setImmediate,
      events: {
        opened: (stream, target, kind) => this.#host.opened(stream, target, kind),
        noticed: (notice) => this.#host.noticed(notice),
        draining,
        fault: (error) => {
          countFault("session");
          this.#log.error("Session failed", errorFields(error));
        },
        streamFault: (error, stream) => {
          countFault("stream");
          this.#log.error("Stream failed", { stream, ...errorFields(error) });
        },
      },
    });
  }

  /** @returns after how many milliseconds to connect again; undefined if that is not for this session. */
  #sessionEnded(session: Session, end: SessionEnd, startMs: number): number | undefined {
    const { stopped, metrics } = this.#host;
    this.#sessions.delete(session);
    metrics.disconnected(stopped.aborted ? "stopped" : endReason(end));
    // Where the agent stops, nothing follows; where it was to move, the next one is under way.
    const isLast = stopped.aborted || session.isDraining;
    const delayMs = isLast ? undefined : this.#nextDelayMs(startMs);
    const isPlanned = stopped.aborted || this.#retired.has(session);
    this.#log[isPlanned ? "info" : "warn"]("Disconnected from relay", {
      code: end.code,
      reason: end.reason,
      next_try: delayMs === undefined ? undefined : inWords(delayMs),
      retry_in_ms: delayMs && Math.round(delayMs),
      connection: this.#connection,
    });
    return delayMs;
  }

  /** Has sessions drain as soon as a newer one serves. */
  async #takeOver(session: Session, replaced: readonly Session[]): Promise<void> {
    try {
      await Promise.race([session.ready, sleep(settingsWaitMs, this.#host.stopped)]);
    } catch {
      return; // It ended before: those that were there go on.
    }
    // Its first Pong tells that the relay has it, and sends requests to it.
    const untilMs = performance.now() + answerWaitMs;
    while (session.roundTripMs === 0 && !session.isClosed && performance.now() < untilMs) {
      await sleep(answerLookMs, this.#host.stopped);
    }
    if (session.isClosed || this.#host.stopped.aborted) return;
    await Promise.all(replaced.map(async (old) => {
      this.#retired.add(old);
      await old.drain(forMs);
      old.close(CloseCode.GoingAway, "The agent has a newer session");
    }));
  }

  /** Says that the session is up, once it is known which version it speaks. */
  async #announce(session: Session): Promise<void> {
    const silence = Promise.withResolvers<void>();
    const timer = setTimeout(silence.resolve, settingsWaitMs);
    try {
      await Promise.race([session.ready, silence.promise]);
      this.#log.info("Connected to relay", {
        server: this.#host.config.serverUrl,
        version: session.version,
        software: session.peer?.software,
        connection: this.#connection,
      });
    } catch {
      // It ended before: the reason is logged where it ends.
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Waits, or less when the signal comes. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = (): void => resolve();
  const timer = setTimeout(wake, ms);
  signal.addEventListener("abort", wake);
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", wake);
  });
}
