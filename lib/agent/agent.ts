/** The agent: keeps a session with the relay and serves what comes through it. */
import type { Log } from "../log.ts";
import { SparseLog } from "../sparse_log.ts";
import { getField, type HeadLimits, type RequestHead } from "../http1/head.ts";
import type { ByteSocket } from "../net/byte_socket.ts";
import { CloseCode, StreamError } from "../protocol/errors.ts";
import type { Session } from "../protocol/session.ts";
import { defaultSettings } from "../protocol/settings.ts";
import type { Stream } from "../protocol/stream.ts";
import { type Span, spanMethod, type Tracer } from "../trace.ts";
import { CredentialExpiry } from "./credential_expiry.ts";
import { Credentials, type TokenFile } from "./credentials.ts";
import { AgentMetrics } from "./metrics.ts";
import { RefusedCredential } from "./refused_credential.ts";
import { type LinkConfig, type LinkHost, RelayLink } from "./relay_link.ts";
import { serve, type ServeContext } from "./serve.ts";
import { UpstreamPool } from "../net/upstream.ts";

/** What an agent is configured with, and what its runtime lends it. */
export interface AgentConfig extends LinkConfig {
  /** The only target that a relay may ask for, `HOST:PORT`. */
  target: string;
  /** Sessions that are kept up at once; 1 unless given. */
  connections?: number;
  /** Streams that may be open at once. */
  maxStreams: number;
  head: HeadLimits;
  /** Idle connections to the target, and how long they are kept, in milliseconds. */
  poolSize: number;
  poolIdleTimeoutMs: number;
  version: string;
  tokenFile: TokenFile | undefined;
  /** Its path, for the log. */
  tokenPath?: string | undefined;
  /** Connects to the target. @throws {StreamError} that says why it can't. */
  dialTarget: (signal: AbortSignal) => Promise<ByteSocket>;
  /** Begins spans, where they are wanted. */
  tracer?: Tracer | undefined;
}

/** How often the agent looks whether its token has changed or is about to expire. */
const credentialLookMs = 60_000;

/** How often the log is told of lines that it left out, in milliseconds. */
const sparseLogSweepMs = 1_000;

/** Runs until it is stopped. */
export class Agent {
  readonly #config: AgentConfig;
  readonly #log: Log;
  /** For what others can cause as often as they like. */
  readonly sparseLog: SparseLog;
  readonly #pool: UpstreamPool;
  readonly #serving: ServeContext;
  readonly #expiry: CredentialExpiry;
  readonly #links: readonly RelayLink[];
  readonly #stop = new AbortController();
  readonly metrics: AgentMetrics;

  constructor(config: AgentConfig, log: Log) {
    this.#config = config;
    this.#log = log;
    this.sparseLog = new SparseLog(log);
    this.#pool = new UpstreamPool({
      dial: config.dialTarget,
      maxIdle: config.poolSize,
      idleTimeoutMs: config.poolIdleTimeoutMs,
    });
    this.metrics = new AgentMetrics(() => this.#figures(), config.version);
    const about = { option: "sa-token-path", path: config.tokenPath, target: config.target };
    this.#expiry = new CredentialExpiry({
      expires: (seconds) => this.metrics.credentialExpires("sa-token-path", seconds),
      log,
      about,
    });
    const refusedCredential = new RefusedCredential({
      count: () => this.metrics.credentialRefused(),
      log,
      about,
    });
    this.#serving = {
      pool: this.#pool,
      credentials: new Credentials(config.tokenFile, (token) => this.#expiry.loaded(token)),
      limits: config.head,
      forwarded: () => this.metrics.forwarded(),
      credentialRefused: () => refusedCredential.refused(),
      failed: (error, request) => this.#requestFailed(error, request),
      trace: config.tracer && ((request) => beginSpan(config.tracer!, request, config.target)),
    };
    const host: LinkHost = {
      config,
      log,
      metrics: this.metrics,
      settings: {
        ...defaultSettings,
        maxStreams: config.maxStreams,
        instance: crypto.randomUUID(),
        software: `culvert-agent/${config.version}`,
      },
      stopped: this.#stop.signal,
      opened: (stream, target) => this.#opened(stream, target),
    };
    const { connections = 1 } = config;
    this.#links = Array.from(
      { length: connections },
      (_, slot) => new RelayLink(host, slot, connections),
    );
  }

  /** Whether a session with the relay is up that takes new requests. */
  get isConnected(): boolean {
    return this.#links.some((link) => link.isConnected);
  }

  /** Requests and upgraded connections that are open. */
  get openRequests(): number {
    return this.#figures().openStreams;
  }

  get #sessions(): Session[] {
    return this.#links.flatMap((link) => [...link.sessions]);
  }

  /** Connects, serves and connects again, until {@link stop} is called. */
  async run(): Promise<void> {
    this.#lookAtCredential();
    const timer = setInterval(() => this.#lookAtCredential(), credentialLookMs);
    const sweep = setInterval(() => this.sparseLog.sweep(), sparseLogSweepMs);
    try {
      await Promise.all(this.#links.map((link) => link.run()));
    } finally {
      clearInterval(timer);
      clearInterval(sweep);
      this.sparseLog.sweep(true);
    }
  }

  /** Takes no new requests, lets open ones finish for `graceMs`, and ends. */
  async stop(graceMs: number): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#sessions.map((session) => session.drain(graceMs)));
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

  /** Reads the token where it has changed, so that its end is known before a request needs it. */
  #lookAtCredential(): void {
    try {
      this.#serving.credentials.authorization();
    } catch (error) {
      // It may not be there yet, as was logged at start; each request that needs it says so.
      this.#log.debug("Could not read the token", { reason: String(error) });
    }
    this.#expiry.look();
  }

  #opened(stream: Stream, target: string): void {
    if (target === this.#config.target) return serve(stream, this.#serving);
    const { target: own, serverUrl } = this.#config;
    const about = { target: own, peer: new URL(serverUrl).host };
    this.sparseLog.warn("Refused a request for another target", about, { asked: target });
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
      connections: this.#links.filter((link) => link.isConnected).length,
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
