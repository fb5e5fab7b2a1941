/** What is logged of a request, and what its span says. */
import type { RequestHead } from "../../http1/head.ts";
import type { ExchangeEnd, Peer } from "../../net/exchange.ts";
import { type Span, spanMethod, type Tracer } from "../../trace.ts";
import type { Registration } from "../agents/registry.ts";
import type { Caller } from "../callers/caller.ts";
import { isAnonymous } from "../callers/caller_methods.ts";
import { clusterNotAvailable } from "../availability_errors.ts";
import type { RelayError } from "../relay_error.ts";
import type { Relay } from "../relay.ts";
import { type Route, withoutQuery } from "../route.ts";

/** A request, as its lines and its span tell of it. */
export interface LoggedRequest {
  readonly relay: Pick<Relay, "log" | "rateLimitedLog" | "limits">;
  readonly source: { readonly head: Pick<RequestHead, "method" | "fields">; readonly peer: Peer };
  readonly route: Route;
  readonly cluster: string;
  readonly requestId: string;
  readonly caller: Caller | undefined;
  readonly denialReason: string | undefined;
  readonly code: string | undefined;
  readonly span: Span | undefined;
  readonly registration: Registration | undefined;
  readonly fromRelay: string | undefined;
  readonly toRelay: string | undefined;
  readonly retries: number;
}

/** Writes the lines of one request. */
export class RequestLog {
  readonly #request: LoggedRequest;

  constructor(request: LoggedRequest) {
    this.#request = request;
  }

  /** The request was tried and failed. */
  failed({ status, code }: RelayError, detail: string): void {
    this.#log.warn("Request failed", { ...this.#about(), status, code, detail });
  }

  /** It is sent through another session, or to another relay. */
  sentAgain(reason: string, detail: string, instance?: string): void {
    this.#log.info("Retrying a request", { ...this.#about(), reason, detail, instance });
  }

  /** It is ended while it is under way. */
  revoked(code: string): void {
    const { caller } = this.#request;
    const about = { ...this.#about(), caller: caller?.name, caller_kind: caller?.kind };
    if (code === "service_removed") {
      return this.#log.warn("Breaking off a request: its service was removed", about);
    }
    if (code === "ended_by_admin") {
      return this.#log.warn("Breaking off a request: an administrator ended it", about);
    }
    this.#log.warn("Breaking off a request: its caller is no longer authorized", about);
  }

  /** It is over. */
  ended(end: ExchangeEnd): void {
    const { relay, denialReason, caller, source: { peer } } = this.#request;
    const fields = this.#endFields(end);
    // Anybody can send requests that nobody lets in: so many must not fill the log.
    const isAnybodys = denialReason !== undefined && !caller;
    if (!isAnybodys) return relay.log.info("Request", fields);
    relay.rateLimitedLog.info("Request", { status: end.status, peer: peer.address }, fields);
  }

  /** Begins the request's span. */
  beginSpan(tracer: Tracer): Span {
    const { source: { head: { method, fields }, peer }, route, requestId, caller } = this.#request;
    const known = spanMethod(method);
    const path = withoutQuery(route.path);
    const isService = route.kind === "service";
    const template = isService ? route.name : "/tunnel/{cluster}";
    return tracer({
      kind: "server",
      name: `${known === "_OTHER" ? "HTTP" : known} ${template}`,
      fields,
      attributes: {
        "http.request.method": known,
        "http.route": isService ? undefined : template,
        "url.path": isService ? path : `/tunnel/${route.cluster}${path}`,
        "url.scheme": peer.isTls ? "https" : "http",
        "client.address": peer.address,
        "server.address": isService ? route.hostname : undefined,
        "culvert.cluster": route.cluster,
        "culvert.service": isService ? route.name : undefined,
        "culvert.request_id": requestId,
        "culvert.caller": caller?.name,
      },
    });
  }

  /** Ends it. */
  endSpan(span: Span, { status, isComplete }: ExchangeEnd): void {
    const { code, retries, registration } = this.#request;
    const hasFailed = status >= 500 || !isComplete;
    span.end({
      "http.response.status_code": status === 0 ? undefined : status,
      "http.request.resend_count": retries === 0 ? undefined : retries,
      "culvert.agent.instance": registration?.instance,
      "error.type": hasFailed ? code ?? (isComplete ? String(status) : "incomplete") : undefined,
    }, hasFailed);
  }

  get #log() {
    return this.#request.relay.log;
  }

  /** What each line begins with. */
  #about() {
    const { requestId, route, source: { head: { method } } } = this.#request;
    return {
      request_id: requestId,
      cluster: route.cluster,
      service: route.kind === "service" ? route.name : undefined,
      method,
      path: withoutQuery(route.path),
    };
  }

  #endFields(end: ExchangeEnd) {
    const request = this.#request;
    const { route, source, registration, retries } = request;
    const caller = request.caller && isAnonymous(request.caller.kind) ? undefined : request.caller;
    return {
      request_id: request.requestId,
      trace_id: request.span?.traceId,
      cluster: route.cluster,
      service: route.kind === "service" ? route.name : undefined,
      hostname: route.kind === "service" ? route.hostname : undefined,
      caller: caller?.name,
      caller_kind: caller?.kind,
      provider: caller?.person?.verifiedClaims.provider,
      session: caller?.person?.sessionId || undefined,
      rules: caller?.met?.join(", "),
      method: source.head.method,
      path: withoutQuery(route.path),
      status: end.status,
      code: request.code,
      detail: this.#detail(),
      bytes_in: end.bytesIn,
      bytes: end.bytes,
      first_byte_ms: end.firstByteMs === undefined ? undefined : tenths(end.firstByteMs),
      ms: tenths(end.ms),
      complete: end.isComplete,
      peer: source.peer.address,
      instance: registration?.instance,
      from_relay: request.fromRelay,
      to_relay: request.toRelay,
      retries: retries === 0 ? undefined : retries,
    };
  }

  /** What the answer leaves open, as its caller must not learn it. */
  #detail(): string | undefined {
    const { code, relay, cluster } = this.#request;
    if (code !== clusterNotAvailable.code) return undefined;
    return relay.limits.knows(cluster) ? "no agent is connected" : "no such cluster";
  }
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
