/** What counts nothing, for homes where nobody could read one relay's numbers. */
import { MetricHistory } from "./metric_history.ts";
import { RequestFigures } from "./request_figures.ts";
import type { RelayMetrics } from "./metrics.ts";

/**
 * What a relay tells its metrics. Only the type is taken from {@link RelayMetrics}, so that a relay
 * without it needs no prom-client, which in turn needs Node's modules.
 */
export type Metrics = Pick<RelayMetrics, keyof RelayMetrics>;

/** Metrics of a relay that keeps none. */
export class SilentMetrics implements Metrics {
  readonly contentType = "text/plain; version=0.0.4; charset=utf-8";

  readonly history: MetricHistory = new MetricHistory();

  readonly #all = new RequestFigures();

  text(): Promise<string> {
    return Promise.resolve("");
  }

  cluster(): RequestFigures {
    return this.#all;
  }

  service(): RequestFigures {
    return this.#all;
  }

  useClusters(): void {}
  useServices(): void {}
  requestRefused(): void {}
  limitHit(): void {}
  auditFailed(): void {}
  authFailed(): void {}
  authSlowed(): void {}
  requestRetried(): void {}
  sessionEnded(): void {}
  observeDirectory(): void {}
  observeConnections(): void {}
  lookedUp(): void {}
  hopped(): void {}
  directoryFailed(): void {}
  tlsHandshakeFailed(): void {}
  http2Abused(): void {}
  proxyHeaderRefused(): void {}
  certificateExpires(): void {}
  certificateGone(): void {}
  configLoaded(): void {}
  configReloaded(): void {}
  callerDenied(): void {}
  callerKeysFetched(): void {}
}
