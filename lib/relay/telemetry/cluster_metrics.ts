/** What is counted of one cluster's requests. */
import { isKnownMethod } from "../../http1/methods.ts";
import type { ExchangeEnd } from "../../net/exchange.ts";
import { Latency } from "./latency.ts";

/**
 * The figures of one cluster's requests. They are added up here and read when Prometheus asks:
 * prom-client looks its labels up anew for each request, which costs more than all of this.
 */
export class ClusterMetrics {
  /** Requests and upgraded connections that are open. */
  open = 0;
  /** Requests whose answer was not completed. */
  aborted = 0;
  /** Finished requests by `METHOD STATUS`. */
  readonly requests = new Map<string, number>();
  readonly duration = new Latency();
  readonly firstByte = new Latency();

  /** Counts a request that is over. */
  finished(method: string, { status, ms, firstByteMs, isComplete }: ExchangeEnd): void {
    if (!isComplete) this.aborted++;
    if (status === 0) return;
    // Callers must not be able to add series.
    const key = `${isKnownMethod(method) ? method : "OTHER"} ${status}`;
    this.requests.set(key, (this.requests.get(key) ?? 0) + 1);
    this.duration.observe(ms / 1000);
    if (firstByteMs !== undefined) this.firstByte.observe(firstByteMs / 1000);
  }
}
