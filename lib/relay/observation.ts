/** What is known about one tunnelled request: its id, its log line, its part in the metrics. */
import type { Exchange, ExchangeEnd } from "../net/exchange.ts";
import { answerError, type RelayError } from "./errors.ts";
import type { Caller } from "./callers/caller.ts";
import type { ForwardObserver } from "./forward.ts";
import type { ClusterMetrics } from "./cluster_metrics.ts";
import type { Registration } from "./registry.ts";
import type { Relay } from "./relay.ts";
import { requestIdLine, requestIdOf } from "./request_id.ts";

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
export class Observation implements ForwardObserver {
  readonly requestId: string;
  /** Times that the request was sent again. */
  retries = 0;
  /** Of the session that it goes through, or has gone through last. */
  registration: Registration | undefined;
  /** The relay that forwarded it to this one. */
  fromRelay: string | undefined;
  /** The relay that it was forwarded to. */
  toRelay: string | undefined;
  protected readonly relay: Relay;
  protected readonly exchange: Exchange;
  protected readonly route: TunnelRoute;
  /** Undefined for one that did not prove itself. */
  protected readonly caller: Caller | undefined;
  readonly #cluster: ClusterMetrics;

  constructor(
    relay: Relay,
    exchange: Exchange,
    route: TunnelRoute,
    registration: Registration | undefined,
    caller: Caller | undefined,
  ) {
    this.relay = relay;
    this.exchange = exchange;
    this.route = route;
    this.registration = registration;
    this.caller = caller;
    this.requestId = requestIdOf(exchange.head.fields);
    // A label for each made-up name would let callers fill the memory.
    const isKnown = registration !== undefined || relay.elsewhere?.knows(route.cluster);
    this.#cluster = relay.metrics.cluster(isKnown ? route.cluster : "unknown");
    this.#cluster.open++;
    exchange.answerField = requestIdLine(this.requestId);
    exchange.onEnd = (end) => this.#ended(end);
  }

  /** The request is not tried: says why to the caller and counts the limit that it met. */
  refuse(error: RelayError): void {
    this.#countLimit(error);
    answerError(this.exchange, error);
  }

  /** The request was tried and failed. The caller is answered by who tried. */
  failed(error: RelayError, detail: string): void {
    this.#countLimit(error);
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

  #countLimit({ limit }: RelayError): void {
    if (limit !== undefined) this.relay.metrics.limitHit(limit);
  }

  #ended(end: ExchangeEnd): void {
    const { method } = this.exchange.head;
    const caller = this.caller?.kind === "network" ? undefined : this.caller;
    this.#cluster.open--;
    this.#cluster.finished(method, end);
    this.relay.log.info("Request", {
      request_id: this.requestId,
      cluster: this.route.cluster,
      caller: caller?.name,
      caller_kind: caller?.kind,
      method,
      path: withoutQuery(this.route.path),
      status: end.status,
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
    });
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
