/** What is known about one tunnelled request: its id, its log line, its part in the metrics. */
import { requestedUpgrade } from "../../http1/fields.ts";
import type { Exchange, ExchangeEnd } from "../../net/exchange.ts";
import { type Span, spanMethod, type Tracer } from "../../trace.ts";
import { type Audited, type AuditRecord, AuditTrail } from "../telemetry/audit.ts";
import { answerError, clusterNotAvailable, type RelayError } from "../errors.ts";
import type { Caller } from "../callers/caller.ts";
import { isAnonymous } from "../callers/methods.ts";
import type { OpenRequest, Watching } from "../callers/open_requests.ts";
import type { ForwardObserver } from "../forward/forward.ts";
import type { ClusterMetrics } from "../telemetry/cluster_metrics.ts";
import { type Permit, unlimited } from "../limits/limits.ts";
import type { RefusalPace } from "../limits/refusal_pace.ts";
import type { Registration } from "../agents/registry.ts";
import type { Relay } from "../relay.ts";
import { requestIdLine, requestIdOf } from "../forward/request_id.ts";

/** Where a tunnelled request goes. */
export interface TunnelRoute {
  cluster: string;
  /** Path and query for the target, byte for byte as the caller sent them. */
  path: string;
}

/**
 * Follows a request from its head to the end of its answer. Making one begins it: the request is
 * counted, and its answer, whoever gives it, bears its id.
 */
export class Observation implements ForwardObserver, Audited, OpenRequest {
  readonly requestId: string;
  readonly span: Span | undefined;
  /** Times that the request was sent again. */
  retries = 0;
  /** The code of an answer of the relay's own. */
  code: string | undefined;
  /** Why its caller was not let in. */
  denialReason: string | undefined;
  /** Of the session that it goes through, or has gone through last. */
  registration: Registration | undefined;
  /** The relay that forwarded it to this one. */
  fromRelay: string | undefined;
  /** The relay that it was forwarded to. */
  toRelay: string | undefined;
  /** That its caller may lose what lets it go on. */
  watching: Watching | undefined;
  /** What the limits have to say about it; given back when it is over. */
  permit: Permit = unlimited;
  protected readonly relay: Relay;
  protected readonly exchange: Exchange;
  protected readonly route: TunnelRoute;
  /** Undefined for one that did not prove itself. */
  readonly caller: Caller | undefined;
  readonly #cluster: ClusterMetrics;
  readonly #trail: AuditTrail | undefined;

  constructor(
    relay: Relay,
    exchange: Exchange,
    route: TunnelRoute,
    registration: Registration | undefined,
    caller: Caller | undefined,
    denialReason?: string,
  ) {
    this.relay = relay;
    this.denialReason = denialReason;
    this.exchange = exchange;
    this.route = route;
    this.registration = registration;
    this.caller = caller;
    this.requestId = requestIdOf(exchange.head.fields);
    this.#cluster = relay.metrics.cluster(this.#isForKnownCluster ? route.cluster : "unknown");
    this.#cluster.open++;
    exchange.answerField = requestIdLine(this.requestId);
    exchange.onEnd = (end) => this.#ended(end);
    if (relay.tracer) this.span = this.#beginSpan(relay.tracer);
    if (relay.audit) this.#trail = new AuditTrail(relay.audit, exchange, this);
  }

  /**
   * Whether it counts under its cluster's name: a label for each made-up name would let callers fill
   * the memory, and who is not let in must not raise a cluster's errors.
   */
  get #isForKnownCluster(): boolean {
    if (this.denialReason !== undefined) return false;
    if (this.registration || this.relay.limits.knows(this.cluster)) return true;
    return this.relay.elsewhere?.knows(this.cluster) === true;
  }

  /** Calls `go` when the request may go on: at once, or when an audit log has it. */
  whenRecorded(go: () => void): void {
    if (this.#trail) this.#trail.start(go);
    else go();
  }

  /**
   * The request is not tried: says why to the caller and counts the limit that it met.
   *
   * @param pace When to say it; at once unless given.
   */
  refuse(error: RelayError, pace?: RefusalPace): void {
    this.#count(error);
    if (!pace) return answerError(this.exchange, error);
    pace.take(() => {
      if (!this.exchange.isOver) answerError(this.exchange, error);
    });
  }

  get cluster(): string {
    return this.route.cluster;
  }

  revoke(): void {
    const { name, kind } = this.caller ?? {};
    const about = { ...this.about, caller: name, caller_kind: kind };
    this.relay.log.warn(
      "Breaking off a request: its caller may not go on",
      about,
    );
    this.code = "caller_revoked";
    // As if the caller had left; and then it has to.
    this.exchange.onAborted();
    this.exchange.abort();
  }

  /** The request was tried and failed. The caller is answered by who tried. */
  failed(error: RelayError, detail: string): void {
    this.#count(error);
    this.relay.log.warn("Request failed", {
      ...this.about,
      status: error.status,
      code: error.code,
      detail,
    });
  }

  /** What a log line about it begins with. */
  protected get about() {
    return {
      request_id: this.requestId,
      cluster: this.route.cluster,
      method: this.exchange.head.method,
      path: withoutQuery(this.route.path),
    };
  }

  auditFields(): AuditRecord {
    const { head, peer } = this.exchange;
    return {
      request_id: this.requestId,
      caller: this.caller?.name,
      caller_kind: this.caller?.kind,
      address: peer.address,
      cluster: this.route.cluster,
      method: head.method,
      path: withoutQuery(this.route.path),
      upgrade: requestedUpgrade(head),
      instance: this.registration?.instance,
      token_name: this.registration?.tokenName,
      from_relay: this.fromRelay,
      to_relay: this.toRelay,
      reason: this.denialReason,
    };
  }

  auditFailed(): void {
    this.relay.metrics.auditFailed();
  }

  #beginSpan(tracer: Tracer): Span {
    const { head: { method, fields }, peer } = this.exchange;
    const known = spanMethod(method);
    return tracer({
      kind: "server",
      name: `${known === "_OTHER" ? "HTTP" : known} /tunnel/{cluster}`,
      fields,
      attributes: {
        "http.request.method": known,
        "http.route": "/tunnel/{cluster}",
        "url.path": `/tunnel/${this.route.cluster}${withoutQuery(this.route.path)}`,
        "url.scheme": peer.isTls ? "https" : "http",
        "client.address": peer.address,
        "culvert.cluster": this.route.cluster,
        "culvert.request_id": this.requestId,
        "culvert.caller": this.caller?.name,
      },
    });
  }

  #endSpan(span: Span, { status, isComplete }: ExchangeEnd): void {
    const hasFailed = status >= 500 || !isComplete;
    const code = this.code ?? (isComplete ? String(status) : "incomplete");
    span.end({
      "http.response.status_code": status === 0 ? undefined : status,
      "http.request.resend_count": this.retries === 0 ? undefined : this.retries,
      "culvert.agent.instance": this.registration?.instance,
      "error.type": hasFailed ? code : undefined,
    }, hasFailed);
  }

  #count({ code, limit }: RelayError): void {
    this.code = code;
    if (limit !== undefined) this.relay.metrics.limitHit(limit);
  }

  /** What the answer leaves open, as its caller must not learn it. */
  #detail(): string | undefined {
    if (this.code !== clusterNotAvailable.code) return undefined;
    const isKnown = this.relay.limits.knows(this.route.cluster);
    return isKnown ? "no agent is connected" : "no such cluster";
  }

  #ended(end: ExchangeEnd): void {
    const { method } = this.exchange.head;
    this.#cluster.open--;
    this.permit.release();
    this.relay.callers.open.forget(this.watching);
    this.#cluster.finished(method, end);
    this.#trail?.ended(end);
    if (this.span) this.#endSpan(this.span, end);
    this.#log(end);
  }

  #log(end: ExchangeEnd): void {
    const fields = this.#lineFields(end);
    const { peer: { address: peer } } = this.exchange;
    // Anybody can send requests that nobody lets in: so many must not fill the log.
    const isAnybodys = this.denialReason !== undefined && !this.caller;
    if (isAnybodys) this.relay.sparseLog.info("Request", { status: end.status, peer }, fields);
    else this.relay.log.info("Request", fields);
  }

  #lineFields(end: ExchangeEnd) {
    const caller = this.caller && isAnonymous(this.caller.kind) ? undefined : this.caller;
    return {
      request_id: this.requestId,
      trace_id: this.span?.traceId,
      cluster: this.route.cluster,
      caller: caller?.name,
      caller_kind: caller?.kind,
      method: this.exchange.head.method,
      path: withoutQuery(this.route.path),
      status: end.status,
      code: this.code,
      detail: this.#detail(),
      bytes_in: end.bytesIn,
      bytes: end.bytes,
      first_byte_ms: end.firstByteMs === undefined ? undefined : tenths(end.firstByteMs),
      ms: tenths(end.ms),
      complete: end.isComplete,
      peer: this.exchange.peer.address,
      instance: this.registration?.instance,
      from_relay: this.fromRelay,
      to_relay: this.toRelay,
      retries: this.retries === 0 ? undefined : this.retries,
    };
  }
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}

/** A query may hold what a log must not. */
function withoutQuery(path: string): string {
  const end = path.indexOf("?");
  return end === -1 ? path : path.slice(0, end);
}
