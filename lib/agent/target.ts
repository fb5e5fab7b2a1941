/** One target that the agent serves: its connections, its credential and what is counted of it. */
import { getField, type HeadLimits, type RequestHead } from "../http1/head.ts";
import type { Log } from "../log.ts";
import { UpstreamPool } from "../net/upstream_pool.ts";
import { StreamError } from "../protocol/errors.ts";
import type { Stream } from "../protocol/stream.ts";
import { type Span, spanMethod, type Tracer } from "../trace.ts";
import { CredentialExpiry } from "./credential_expiry.ts";
import { Credentials } from "./credentials.ts";
import { Impersonator } from "./impersonator.ts";
import type { AgentMetrics } from "./metrics.ts";
import { RefusedCredential } from "./refused_credential.ts";
import { serve, type ServeContext } from "./serve.ts";
import { serveTcp } from "./serve_tcp.ts";
import { credentialName, type TargetConfig } from "./target_config.ts";

/** What all targets of an agent share. */
export interface TargetHost {
  readonly log: Log;
  readonly metrics: AgentMetrics;
  readonly head: HeadLimits;
  /** Idle connections to each target, and how long they are kept, in milliseconds. */
  readonly poolSize: number;
  readonly poolIdleTimeoutMs: number;
  readonly tracer?: Tracer | undefined;
  /** A request has a path that leads to none of a target's own. */
  readonly pathNotServed: (target: string, request: RequestHead | undefined) => void;
}

/** It serves streams until it is closed, and after that those that are open. */
export class Target {
  readonly config: TargetConfig;
  readonly #host: TargetHost;
  readonly #pool: UpstreamPool;
  readonly #credentials: Credentials | undefined;
  readonly #expiry: CredentialExpiry | undefined;
  /** How its requests are served. */
  readonly serving: ServeContext;
  #isClosed = false;
  /** TCP connections that are open. */
  openConnections = 0;

  constructor(config: TargetConfig, host: TargetHost) {
    const { name, dial, credential, impersonate } = config;
    const { log, metrics, head, poolSize, poolIdleTimeoutMs, tracer } = host;
    this.config = config;
    this.#host = host;
    this.#pool = new UpstreamPool({ dial, maxIdle: poolSize, idleTimeoutMs: poolIdleTimeoutMs });
    const about = { option: credential?.origin, path: credential?.path, target: name };
    this.#expiry = credential && new CredentialExpiry({
      expires: (seconds) => {
        if (!this.#isClosed) metrics.credentialExpires(credentialName(config), seconds);
      },
      log,
      about,
    });
    this.#credentials = credential &&
      new Credentials(credential, (token) => this.#expiry?.loaded(token));
    const refusedCredential = new RefusedCredential({
      count: () => metrics.credentialRefused(name),
      log,
      about,
    });
    metrics.targetAdded(name);
    this.serving = {
      pool: this.#pool,
      credentials: this.#credentials,
      hosts: { name, address: config.host },
      impersonator: impersonate &&
        new Impersonator(impersonate.demands, { find: impersonate.find, nowMs: () => Date.now() }),
      limits: head,
      forwarded: () => metrics.forwarded(name),
      credentialRefused: () => refusedCredential.refused(),
      failed: (error, request) => requestFailed(host, name, error, request),
      trace: tracer && ((request) => beginSpan(tracer, request, config.address)),
    };
  }

  /** Idle connections. */
  get idleConnections(): number {
    return this.#pool.idleCount;
  }

  /** Serves a stream of the target's kind. */
  serve(stream: Stream): void {
    if (this.config.kind === "http") return serve(stream, this.serving);
    const { metrics } = this.#host;
    const { name } = this.config;
    serveTcp(stream, {
      dial: this.config.dial,
      connected: () => {
        this.openConnections++;
        metrics.tcpConnected(name);
      },
      closed: (toTarget, fromTarget) => {
        this.openConnections--;
        metrics.tcpClosed(name, toTarget, fromTarget);
      },
      failed: (error) => this.#connectionFailed(error),
    });
  }

  /** Reads the token where it has changed, so that its end is known before a request needs it. */
  lookAtCredential(): void {
    try {
      this.#credentials?.value();
    } catch (error) {
      // It may not be there yet, as was logged at start; each request that needs it says so.
      this.#host.log.debug("Could not read the token", {
        target: this.config.name,
        error: String(error),
      });
    }
    this.#expiry?.look();
  }

  /** Ends idle connections; what is open goes on, and then ends its connection. */
  close(): void {
    this.#isClosed = true;
    this.#pool.close();
  }

  #connectionFailed(error: StreamError): void {
    const { metrics, log } = this.#host;
    metrics.failed(this.config.name, error.code);
    log.warn("Could not connect to a TCP target", {
      code: error.code,
      error: error.message,
      target: this.config.name,
    });
  }
}

/** Counts and logs a request that failed. */
export function requestFailed(
  { metrics, log }: Pick<TargetHost, "metrics" | "log">,
  target: string,
  error: StreamError,
  request: RequestHead | undefined,
): void {
  metrics.failed(target, error.code);
  log.warn("Request failed", {
    code: error.code,
    error: error.message,
    ...factsOf(request),
    target,
  });
}

/** What the log tells of a request. */
export function factsOf(request: RequestHead | undefined): Record<string, unknown> {
  return {
    request_id: request && getField(request.fields, "x-request-id"),
    method: request?.method,
    path: request?.target.split("?", 1)[0],
  };
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
