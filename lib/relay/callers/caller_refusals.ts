/** Answers to callers that are not let in: counted, logged without their credential, and not hurried. */
import type { Exchange } from "../../net/exchange.ts";
import { tooManyFailures } from "../caller_errors.ts";
import { answerError } from "../error_response.ts";
import type { RelayError } from "../relay_error.ts";
import { AuthThrottle } from "../auth_throttle.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import type { Route } from "../route.ts";
import type { RateLimitedLog } from "../../rate_limited_log.ts";
import type { Caller, Denial, DenialReason } from "./caller.ts";

/** Where refused callers are counted. */
export interface CallerRefusalCounts {
  callerDenied(reason: DenialReason): void;
  authFailed(endpoint: "tunnel"): void;
  authSlowed(endpoint: "tunnel"): void;
}

/** Refuses callers. */
export class CallerRefusals {
  readonly #counts: CallerRefusalCounts;
  readonly #log: RateLimitedLog;
  readonly #throttle = new AuthThrottle(() => performance.now());

  constructor(counts: CallerRefusalCounts, log: RateLimitedLog) {
    this.#counts = counts;
    this.#log = log;
  }

  /** Answers a caller that is denied, at once or after a while; `caller` is there if it is known. */
  refuse(exchange: Exchange, denial: Denial, route: Route, caller: Caller | undefined): void {
    const { peer } = exchange;
    const { reason, answer, detail } = denial;
    this.#counts.callerDenied(reason);
    this.#log.warn("Refused a caller", { reason, peer: peer.address }, {
      detail,
      cluster: route.cluster,
      service: route.kind === "service" ? route.name : undefined,
      caller: caller?.name ?? peer.certificate?.names.find(isPrintableName),
    });
    if (answer.status !== 401) return answerError(exchange, answer);
    this.#counts.authFailed("tunnel");
    this.#answerInTime(exchange, answer);
  }

  #answerInTime(exchange: Exchange, error: RelayError): void {
    const delay = this.#throttle.add(exchange.peer.address);
    if (delay.kind === "now") return answerError(exchange, error);
    this.#counts.authSlowed("tunnel");
    if (delay.kind === "never") return answerError(exchange, tooManyFailures);
    setTimeout(() => {
      delay.done();
      if (!exchange.isOver) answerError(exchange, error);
    }, delay.ms);
  }
}
