/** The agent: keeps a session with the relay and serves what comes through it. */
import type { Log } from "../log.ts";
import { getField, type HeadLimits, type RequestHead } from "../http1/head.ts";
import type { ByteSocket } from "../net/byte_socket.ts";
import { CloseCode, StreamError } from "../protocol/errors.ts";
import { Session } from "../protocol/session.ts";
import { endReason } from "../protocol/session_end.ts";
import { defaultSettings, type Settings } from "../protocol/settings.ts";
import type { TunnelSocket } from "../protocol/socket.ts";
import type { Stream } from "../protocol/stream.ts";
import { type Span, spanMethod, type Tracer } from "../trace.ts";
import { backoffMs, refusedBackoffMs } from "./backoff.ts";
import { Credentials, type TokenFile } from "./credentials.ts";
import { AgentMetrics } from "./metrics.ts";
import { serve, type ServeContext } from "./serve.ts";
import { UpstreamPool } from "../net/upstream.ts";

/** The relay answered the handshake with something else than a WebSocket. */
export class RelayRefusedError extends Error {
  override readonly name = "RelayRefusedError";
  readonly status: number;

  constructor(status: number) {
    super(`The relay answered with status ${status}`);
    this.status = status;
  }
}

/** What an agent is configured with, and what its runtime lends it. */
export interface AgentConfig {
  /** The relay's URL, for the log. */
  serverUrl: string;
  /** The proxy's on the way there, without credentials. */
  proxy?: string | undefined;
  /** The only target that a relay may ask for, `HOST:PORT`. */
  target: string;
  /** The longest wait between attempts, in milliseconds. */
  maxRetryMs: number;
  /** Streams that may be open at once. */
  maxStreams: number;
  head: HeadLimits;
  /** Idle connections to the target, and how long they are kept, in milliseconds. */
  poolSize: number;
  poolIdleTimeoutMs: number;
  version: string;
  tokenFile: TokenFile | undefined;
  /** Connects to the relay. @throws {RelayRefusedError} when the relay says no. */
  dialRelay: (signal: AbortSignal) => Promise<TunnelSocket>;
  /** Connects to the target. @throws {StreamError} that says why it can't. */
  dialTarget: (signal: AbortSignal) => Promise<ByteSocket>;
  random?: () => number;
  /** Begins spans, where they are wanted. */
  tracer?: Tracer | undefined;
}

/** A session that lasted this long was a stable one: the next wait starts small again. */
const stableMs = 30_000;
/** A relay that speaks version 2 says so at once; one that is silent this long speaks version 1. */
const settingsWaitMs = 2_000;

/** Runs until it is stopped. */
export class Agent {
  readonly #config: AgentConfig;
  readonly #log: Log;
  readonly #pool: UpstreamPool;
  readonly #serving: ServeContext;
  readonly #settings: Settings;
  readonly #sessions = new Set<Session>();
  readonly #stop = new AbortController();
  readonly metrics: AgentMetrics;
  #attempt = 0;
  /** Ends the wait before the next attempt. */
  #waiting = new AbortController();

  constructor(config: AgentConfig, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#pool = new UpstreamPool({
      dial: config.dialTarget,
      maxIdle: config.poolSize,
      idleTimeoutMs: config.poolIdleTimeoutMs,
    });
    this.metrics = new AgentMetrics(() => this.#figures(), config.version);
    this.#serving = {
      pool: this.#pool,
      credentials: new Credentials(config.tokenFile),
      limits: config.head,
      forwarded: () => this.metrics.forwarded(),
      failed: (error, request) => this.#requestFailed(error, request),
      trace: config.tracer && ((request) => beginSpan(config.tracer!, request, config.target)),
    };
    this.#settings = {
      ...defaultSettings,
      maxStreams: config.maxStreams,
      instance: crypto.randomUUID(),
      software: `culvert-agent/${config.version}`,
    };
  }

  /** Whether a session with the relay is up that takes new requests. */
  get isConnected(): boolean {
    for (const session of this.#sessions) {
      if (!session.isClosed && !session.isDraining) return true;
    }
    return false;
  }

  /** Connects, serves and connects again, until {@link stop} is called. */
  async run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const delayMs = await this.#connectOnce();
      if (this.#stop.signal.aborted) break;
      this.metrics.reconnecting();
      this.#log.info("Reconnecting to relay", { in_ms: Math.round(delayMs) });
      this.#waiting = new AbortController();
      await sleep(delayMs, AbortSignal.any([this.#stop.signal, this.#waiting.signal]));
    }
  }

  /** Takes no new requests, lets open ones finish for `graceMs`, and ends. */
  async stop(graceMs: number): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#sessions].map((session) => session.drain(graceMs)));
    const open = this.#figures().openStreams;
    if (open > 0) {
      this.#log.warn("Breaking off requests: --grace is over", { open, grace_ms: graceMs });
    }
    for (const session of this.#sessions) {
      const isOver = session.openStreams > 0;
      const reason = isOver ? "The agent stops, and its --grace is over" : "The agent stops";
      session.close(CloseCode.GoingAway, reason);
    }
    this.#pool.close();
  }

  /** Says what to do about a refusal: soon trying again is of no use. */
  #refused(status: number): void {
    const about = { server: this.#config.serverUrl, status };
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

  /** One session, until it ends or drains. @returns how long to wait before the next attempt. */
  async #connectOnce(): Promise<number> {
    const { serverUrl, proxy, maxRetryMs, random = Math.random } = this.#config;
    const startMs = performance.now();
    try {
      this.#log.info("Connecting to relay", { server: serverUrl, proxy });
      const socket = await this.#config.dialRelay(this.#stop.signal);
      const isMoving = await this.#runSession(socket);
      // The relay asked us to go elsewhere: it may be gone soon, its successor is there already.
      if (isMoving) return random() * 200;
    } catch (error) {
      if (this.#stop.signal.aborted) return 0;
      const reason = error instanceof Error ? error.message : String(error);
      if (error instanceof RelayRefusedError && [401, 403, 429].includes(error.status)) {
        this.#refused(error.status);
        return refusedBackoffMs(maxRetryMs, random);
      }
      this.#log.warn("Could not connect to relay", { server: serverUrl, proxy, reason });
    }
    if (performance.now() - startMs > stableMs) this.#attempt = 0;
    return backoffMs(this.#attempt++, maxRetryMs, random);
  }

  /** @returns true when the session goes on without new streams and a new one is wanted. */
  async #runSession(socket: TunnelSocket): Promise<boolean> {
    const draining = Promise.withResolvers<true>();
    const session = new Session(socket, {
      role: "agent",
      settings: this.#settings,
      offersVersion2: true,
      defer: setImmediate,
      events: {
        opened: (stream, target) => this.#opened(stream, target),
        draining: () => draining.resolve(true),
        fault: (error) => this.#log.error("Session failed", { error: String(error) }),
      },
    });
    this.#sessions.add(session);
    this.#announce(session);
    const ended = session.closed.then((end): false => {
      const { code, reason } = end;
      this.#sessions.delete(session);
      const isStopping = this.#stop.signal.aborted;
      this.metrics.disconnected(isStopping ? "stopped" : endReason(end));
      const level = isStopping ? "info" : "warn";
      this.#log[level]("Disconnected from relay", { code, reason });
      return false;
    });
    if (this.#stop.signal.aborted) session.close(CloseCode.GoingAway, "The agent stops");
    const isMoving = await Promise.race([ended, draining.promise]);
    if (!isMoving) return false;
    this.#log.info("The relay is draining; connecting anew", {});
    // It may take none anew until it is gone, and then be back at once: no use to wait on.
    ended.then(() => this.#hurry());
    return true;
  }

  /** Tries again now, with no attempt counted, unless a session is up. */
  #hurry(): void {
    if (this.isConnected) return;
    this.#attempt = 0;
    this.#waiting.abort();
  }

  /** Says that the session is up, once it is known which version it speaks. */
  async #announce(session: Session): Promise<void> {
    const silence = Promise.withResolvers<void>();
    const timer = setTimeout(silence.resolve, settingsWaitMs);
    try {
      await Promise.race([session.ready, silence.promise]);
      this.#log.info("Connected to relay", {
        server: this.#config.serverUrl,
        version: session.version,
        software: session.peer?.software,
      });
    } catch {
      // It ended before: the reason is logged where it ends.
    } finally {
      clearTimeout(timer);
    }
  }

  #opened(stream: Stream, target: string): void {
    if (target === this.#config.target) return serve(stream, this.#serving);
    this.#log.warn("Refused a request for another target", {
      asked: target,
      target: this.#config.target,
    });
    stream.fail(new StreamError("forbidden", "address not allowed"));
  }

  #requestFailed(error: StreamError, request: RequestHead | undefined): void {
    this.metrics.failed(error.code);
    this.#log.warn("Request failed", {
      request_id: request && getField(request.fields, "x-request-id"),
      code: error.code,
      reason: error.message,
      method: request?.method,
      path: request?.target.split("?", 1)[0],
      target: this.#config.target,
    });
  }

  #figures() {
    let openStreams = 0;
    let roundTripMs = 0;
    for (const session of this.#sessions) {
      openStreams += session.openStreams;
      roundTripMs = Math.max(roundTripMs, session.roundTripMs);
    }
    return {
      isConnected: this.isConnected,
      openStreams,
      roundTripMs,
      idleUpstreamConnections: this.#pool.idleCount,
    };
  }
}

/** The span of a request to the target; it has no query, which may hold what nobody else is to see. */
function beginSpan(tracer: Tracer, { method, target, fields }: RequestHead, address: string): Span {
  const port = address.lastIndexOf(":");
  return tracer({
    kind: "client",
    name: spanMethod(method),
    fields,
    attributes: {
      "http.request.method": spanMethod(method),
      "url.path": target.split("?", 1)[0],
      "server.address": address.slice(0, port),
      "server.port": Number(address.slice(port + 1)),
      "culvert.request_id": getField(fields, "x-request-id"),
    },
  });
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
