/** One scope of limits: a relay, a cluster or a service. */
import { Counter } from "../../counter.ts";
import type { LimitValues } from "../../domain/limits.ts";
import type { RelayError } from "../relay_error.ts";
import { Bandwidth } from "./bandwidth.ts";
import type { LimitErrors } from "./limit_errors.ts";
import { RateLimit } from "./rate_limit.ts";

/** How far bytes may be ahead of their rate before new requests are refused, in milliseconds. */
const maxDebtMs = 2_000;

/** The bounds of one scope, and how much of them is used. */
export class Scope {
  readonly values: LimitValues;
  /** Requests that are open; shared with the scope that replaces this one when values change. */
  readonly open: Counter;
  readonly bandwidth: Bandwidth | undefined;
  readonly #errors: LimitErrors;
  readonly #rate: RateLimit;

  constructor(
    values: LimitValues,
    errors: LimitErrors,
    nowMs: () => number,
    open = new Counter(),
  ) {
    this.values = values;
    this.open = open;
    this.#errors = errors;
    this.#rate = new RateLimit(values.requestsPerSecond, nowMs);
    const { bytesPerSecond } = values;
    this.bandwidth = bytesPerSecond > 0 ? new Bandwidth(bytesPerSecond, nowMs) : undefined;
  }

  /** Why there is no room for one more request, or nothing; then it has been counted as come. */
  refusal(): RelayError | undefined {
    const { openRequests } = this.values;
    if (openRequests > 0 && this.open.count >= openRequests) return this.#errors.requests;
    const debtMs = this.bandwidth?.debtMs ?? 0;
    if (debtMs > maxDebtMs) return after(this.#errors.bandwidth, debtMs);
    if (!this.#rate.admits()) return after(this.#errors.rate, this.#rate.waitMs);
    return undefined;
  }
}

function after(error: RelayError, ms: number): RelayError {
  return { ...error, retryAfterSeconds: Math.max(1, Math.ceil(ms / 1000)) };
}

/** Whether any of the limits is set. */
export function isBounded(values: LimitValues): boolean {
  return values.requestsPerSecond > 0 || values.openRequests > 0 || values.bytesPerSecond > 0;
}
