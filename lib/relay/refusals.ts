/** Answers to callers that are not let in: counted, logged without their credential, and not hurried. */
import type { Exchange } from "../net/exchange.ts";
import type { Log } from "../log.ts";
import type { Caller, Denial } from "./callers/caller.ts";
import { Failures } from "./failures.ts";
import { answerError, type RelayError, tooManyFailures } from "./errors.ts";
import { RateLimit } from "./rate_limit.ts";
import type { Metrics } from "./silent_metrics.ts";

/** Log lines a second about refused callers; the metrics count them all. */
const logLinesPerSecond = 5;

/** Refuses callers. */
export class Refusals {
  readonly #metrics: Metrics;
  readonly #log: Log;
  readonly #failures = new Failures(() => performance.now());
  readonly #logLimit = new RateLimit(logLinesPerSecond);
  #unlogged = 0;

  constructor(metrics: Metrics, log: Log) {
    this.#metrics = metrics;
    this.#log = log;
  }

  /** Answers a caller that is denied, at once or after a while; `caller` is there if it is known. */
  refuse(exchange: Exchange, denial: Denial, cluster: string, caller: Caller | undefined): void {
    this.#metrics.callerDenied(denial.reason);
    this.#report(exchange, denial, cluster, caller);
    if (denial.answer.status !== 401) return answerError(exchange, denial.answer);
    this.#metrics.authFailed("tunnel");
    this.#answerInTime(exchange, denial.answer);
  }

  #answerInTime(exchange: Exchange, error: RelayError): void {
    const pace = this.#failures.add(exchange.peer.address);
    if (pace.kind === "now") return answerError(exchange, error);
    this.#metrics.authSlowed("tunnel");
    if (pace.kind === "never") return answerError(exchange, tooManyFailures);
    setTimeout(() => {
      pace.done();
      if (!exchange.isOver) answerError(exchange, error);
    }, pace.ms);
  }

  #report({ peer }: Exchange, denial: Denial, cluster: string, caller: Caller | undefined): void {
    if (!this.#logLimit.admits()) {
      this.#unlogged++;
      return;
    }
    this.#log.warn("Refused a caller", {
      reason: denial.reason,
      cluster,
      caller: caller?.name ?? peer.certificate?.names[0],
      peer: peer.address,
      unlogged: this.#unlogged || undefined,
    });
    this.#unlogged = 0;
  }
}
