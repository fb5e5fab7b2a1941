/**
 * What goes with a request, or with a TCP connection, through the relay: its id, its caller, what the
 * limits and the audit log say about it, and what the metrics and the log get to know.
 */
import type { RequestHead } from "../../http1/head.ts";
import { requestedUpgrade } from "../../http1/fields.ts";
import type { Exchange, ExchangeEnd, Peer, Progress } from "../../net/exchange.ts";
import type { Span } from "../../trace.ts";
import type { Registration } from "../agents/registry.ts";
import { type Caller, Denial } from "../callers/caller.ts";
import { withdrawn } from "../callers/callers.ts";
import type { OpenRequest, OpenRequestEntry } from "../callers/open_requests.ts";
import { auditUnavailable, relayStopping } from "../availability_errors.ts";
import { answerError } from "../error_response.ts";
import type { RelayError } from "../relay_error.ts";
import { requestIdLine, requestIdOf } from "../forward/request_id.ts";
import { type Permit, unlimited } from "../limits/limits.ts";
import type { RefusalThrottle } from "../limits/refusal_throttle.ts";
import type { Relay } from "../relay.ts";
import { type CallerIdentity, noIdentity } from "../people/identities.ts";
import { type Route, withoutQuery } from "../route.ts";
import { type Audited, type AuditRecord, AuditTrail } from "../telemetry/audit.ts";
import type { RequestStats } from "../telemetry/request_stats.ts";
import { RequestLog } from "./request_log.ts";

/** What a request came as; an `Exchange` is one, and so is a TCP connection with a head made up for it. */
export interface RequestSource {
  readonly head: Pick<RequestHead, "method" | "minor" | "fields">;
  readonly peer: Peer;
  /** What it has carried so far, where that is counted. */
  progress?(): Progress;
}

/** A request that is not let in, though its caller is known; `throttle` says when to tell it. */
export interface Refused {
  readonly error: RelayError;
  readonly throttle?: RefusalThrottle | undefined;
}

/** Who asks, as far as that is known. */
export interface RequestOrigin {
  /** Undefined for one that did not prove itself. */
  readonly caller?: Caller | undefined;
  /** Why it was not let in. */
  readonly denialReason?: string | undefined;
  /** The relay that forwarded the request to this one. */
  readonly fromRelay?: string | undefined;
  /** What agent and target are told about the caller. */
  readonly identity?: CallerIdentity | undefined;
}

/** Making one begins it: it is counted as open until {@link RequestContext.ended}. */
export class RequestContext implements Audited, OpenRequest {
  readonly relay: Relay;
  readonly source: RequestSource;
  readonly route: Route;
  readonly requestId: string;
  readonly caller: Caller | undefined;
  readonly fromRelay: string | undefined;
  readonly identity: CallerIdentity;
  readonly log: RequestLog;
  readonly span: Span | undefined;
  /** When it came, in milliseconds since 1970. */
  readonly sinceMs = Date.now();
  /** Tells it from all others of this relay. */
  readonly number: number;
  /** Times that the request was sent again. */
  retries = 0;
  /** The code of an answer of the relay's own. */
  code: string | undefined;
  /** Why its caller was not let in. */
  denialReason: string | undefined;
  /** The registration of the session that the request goes through, or went through last. */
  registration: Registration | undefined;
  /** The relay that it was forwarded to. */
  toRelay: string | undefined;
  /** What the limits allow it. */
  permit: Permit = unlimited;
  /** What a connection has carried over a WebSocket of its own, which no exchange sees. */
  carried: Progress | undefined;
  /** Ends it, as its caller or its service may not go on. */
  onRevoked: () => void = () => {};
  #openEntry: OpenRequestEntry | undefined;
  readonly #stats: readonly RequestStats[];
  readonly #trail: AuditTrail | undefined;

  constructor(relay: Relay, source: RequestSource, route: Route, origin: RequestOrigin) {
    this.relay = relay;
    this.source = source;
    this.route = route;
    this.number = relay.nextNumber();
    this.caller = origin.caller;
    this.denialReason = origin.denialReason;
    this.fromRelay = origin.fromRelay;
    this.identity = origin.identity ?? noIdentity;
    const isLetIn = origin.caller !== undefined && origin.denialReason === undefined;
    if (isLetIn) this.registration = relay.registry.pick(route.cluster, { route });
    this.requestId = requestIdOf(source.head.fields);
    this.#stats = this.#statsOf();
    for (const stats of this.#stats) stats.open++;
    this.log = new RequestLog(this);
    this.span = relay.tracer && this.log.beginSpan(relay.tracer);
    if (relay.audit) this.#trail = new AuditTrail(relay.audit, this);
  }

  get cluster(): string {
    return this.route.cluster;
  }

  /**
   * A cluster's stats count under its name only if there is such a cluster: a label for each made-up
   * name would let callers fill the memory, and who is not let in must not raise a cluster's errors.
   */
  #statsOf(): RequestStats[] {
    const { metrics, limits, peers } = this.relay;
    const isKnown = this.denialReason === undefined &&
      (this.registration !== undefined || limits.knows(this.cluster) ||
        peers?.knows(this.cluster) === true);
    const stats: RequestStats[] = [metrics.cluster(isKnown ? this.cluster : "unknown")];
    const isDenied = this.denialReason !== undefined;
    if (this.route.kind === "service" && !isDenied) stats.push(metrics.service(this.route.name));
    return stats;
  }

  /**
   * Lets the request in.
   *
   * @returns why not: the relay stops, a limit is met, or the caller's credential was withdrawn a
   * moment ago
   */
  admit(): Refused | Denial | undefined {
    const { relay, route, caller } = this;
    if (relay.refusesRequests) return { error: relayStopping };
    const permit = relay.limits.permit({
      cluster: route.cluster,
      service: route.kind === "service" ? route.name : undefined,
      caller: caller?.name,
    });
    if ("status" in permit) return { error: permit, throttle: relay.refusalThrottle };
    this.permit = permit;
    const entry = relay.callers.open.add(this);
    if (entry === "revoked") {
      this.denialReason = withdrawn.reason;
      return withdrawn;
    }
    this.#openEntry = entry;
    relay.services.began(this);
    relay.underWay.add(this);
    return undefined;
  }

  /** Calls `go` when the request may go on: at once, or when an audit log has it. */
  whenRecorded(go: () => void, refused: () => void): void {
    if (this.#trail) this.#trail.start(go, refused);
    else go();
  }

  /** Follows an exchange to its end; its answer, whoever gives it, bears the request's id. */
  follow(exchange: Exchange): void {
    exchange.answerField = requestIdLine(this.requestId);
    exchange.onEnd = (end) => this.ended(end);
    const trail = this.#trail;
    if (!trail) return;
    exchange.beforeEnd = (end, settle) =>
      trail.hold(end, (decision) => {
        settle(decision);
        if (decision === "replace") refuseUnrecorded(exchange);
      });
  }

  /** Counts an answer of the relay's own, and the limit that was met. */
  answered({ code, limit }: RelayError): void {
    this.code = code;
    if (limit !== undefined) this.relay.metrics.limitHit(limit);
  }

  /** The request was tried and failed. The caller is answered by who tried. */
  failed(error: RelayError, detail: string): void {
    this.answered(error);
    this.log.failed(error, detail);
  }

  revoke(code = "caller_revoked"): void {
    this.log.revoked(code);
    this.code = code;
    this.onRevoked();
  }

  /** It is over, in whatever way. */
  ended(end: ExchangeEnd): void {
    const { relay, source: { head: { method } } } = this;
    this.permit.release();
    relay.callers.open.remove(this.#openEntry);
    relay.services.ended(this);
    relay.underWay.delete(this);
    for (const stats of this.#stats) {
      stats.open--;
      stats.finished(method, end);
    }
    this.#keep(end);
    this.#trail?.ended(end);
    if (this.span) this.log.endSpan(this.span, end);
    this.log.ended(end);
  }

  /** Keeps the request for the status page, if its service wants that and no other relay has let it in. */
  #keep({ status, ms, bytes }: ExchangeEnd): void {
    const { relay, route, caller, fromRelay, source: { head } } = this;
    if (route.kind !== "service" || fromRelay !== undefined) return;
    if (!relay.recentRequests.keeps(route.name)) return;
    relay.recentRequests.add(route.name, {
      relay: relay.settings.instance!,
      atMs: this.sinceMs,
      requestId: this.requestId,
      cluster: route.cluster,
      service: route.name,
      caller: caller?.name,
      method: head.method,
      path: withoutQuery(route.path),
      status,
      ms: Math.round(ms),
      bytes,
    });
  }

  auditFields(): AuditRecord {
    const { source: { head, peer }, route, caller, registration } = this;
    const isService = route.kind === "service";
    return {
      request_id: this.requestId,
      caller: caller?.name,
      caller_kind: caller?.kind,
      provider: caller?.person?.verifiedClaims.provider,
      session: caller?.person?.sessionId || undefined,
      rules: caller?.met?.join(", ") || undefined,
      impersonated_user: this.identity.impersonation?.user,
      impersonated_groups: this.identity.impersonation?.groups.join(", "),
      address: peer.address,
      cluster: route.cluster,
      service: isService ? route.name : undefined,
      hostname: isService ? route.hostname : undefined,
      method: head.method,
      path: withoutQuery(route.path),
      upgrade: requestedUpgrade(head),
      instance: registration?.instance,
      token_name: registration?.tokenName,
      from_relay: this.fromRelay,
      to_relay: this.toRelay,
      reason: this.denialReason,
    };
  }

  auditFailed(): void {
    this.relay.metrics.auditFailed();
  }
}

/** No record, no request. */
export function refuseUnrecorded(exchange: Exchange): void {
  exchange.beforeEnd = undefined;
  answerError(exchange, auditUnavailable);
}
