/** What is counted of one cluster's requests, or of one service's. */
import { isKnownMethod } from "../../http1/methods.ts";
import type { ExchangeEnd } from "../../net/exchange.ts";
import { Latency } from "../../latency.ts";

/** Statuses that get a label of their own: those that are registered (RFC 9110 section 16.2.1). */
const knownStatuses = new Set([
  ...[100, 101, 102, 103, 104],
  ...[200, 201, 202, 203, 204, 205, 206, 207, 208, 226],
  ...[300, 301, 302, 303, 304, 305, 307, 308],
  ...[400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417],
  ...[421, 422, 423, 424, 425, 426, 428, 429, 431, 451],
  ...[500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511],
]);

/** Any other status counts by its class, so that targets can't add series without end. */
function statusLabel(status: number): string {
  return knownStatuses.has(status) ? String(status) : `${Math.floor(status / 100)}xx`;
}

/**
 * The stats of the requests of a cluster or a service. They are added up here and read when Prometheus asks:
 * prom-client looks its labels up anew for each request, which costs more than all of this.
 */
export class RequestStats {
  /** Requests and upgraded connections that are open. */
  open = 0;
  /** Requests whose answer was not completed. */
  aborted = 0;
  /** Requests that are over, with an answer or without one. */
  finishedCount = 0;
  /** Finished requests by `METHOD STATUS`. */
  readonly requests = new Map<string, number>();
  readonly duration = new Latency();
  readonly firstByte = new Latency();

  /** Counts a request that is over. */
  finished(method: string, { status, ms, firstByteMs, isComplete }: ExchangeEnd): void {
    this.finishedCount++;
    if (!isComplete) this.aborted++;
    if (status === 0) return;
    // Callers must not be able to add series.
    const key = `${isKnownMethod(method) ? method : "OTHER"} ${statusLabel(status)}`;
    this.requests.set(key, (this.requests.get(key) ?? 0) + 1);
    this.duration.observe(ms / 1000);
    if (firstByteMs !== undefined) this.firstByte.observe(firstByteMs / 1000);
  }
}
