/** The operator's metrics. */
import type { Instruments } from "../instruments.ts";
import { Latency } from "../latency.ts";
import type { AdmissionResult } from "./injection/admission.ts";
import type { OperatorObserver } from "./observed_queue.ts";

/** What gauges ask the operator when Prometheus asks them. */
export interface OperatorStats {
  readonly leads: boolean;
  readonly depth: number;
  readonly heldBack: number;
  readonly tunnels: number;
  readonly bindings: number;
  /** Records that wait to be made, checked or removed at Cloudflare. */
  readonly cloudflareRecords: number;
  readonly clusters: number;
  readonly registrationTokens: number;
  /** When the webhook's certificate expires, in milliseconds since 1970; undefined without a webhook. */
  readonly webhookExpiresMs: number | undefined;
  /** Bytes of the webhook's reviews that come or are answered now; undefined without a webhook. */
  readonly webhookReviewBytes: number | undefined;
}

/** The metrics of one operator. */
export class OperatorMetrics implements OperatorObserver {
  readonly #instruments: Instruments;
  readonly #counters: ReturnType<typeof countersOf>;
  readonly #durations = new Map<string, Latency>();

  constructor(instruments: Instruments, stats: () => OperatorStats, version: string) {
    this.#instruments = instruments;
    this.#counters = countersOf(instruments);
    instruments.observeHistogram(
      "culvert_operator_reconciliation_seconds",
      "How long work on an object took, by kind.",
      "kind",
      () => this.#durations,
    );
    observeStats(instruments, stats);
    instruments.gauge(
      "culvert_build_info",
      "Always 1; the labels say which program this is.",
      "program",
      "version",
    ).set({ program: "operator", version }, 1);
  }

  get contentType(): string {
    return this.#instruments.contentType;
  }

  /** Everything in Prometheus' text format. */
  text(): Promise<string> {
    return this.#instruments.text();
  }

  requested(verb: string, resource: string, code: string): void {
    this.#counters.requests.inc({ verb, resource, code });
  }

  listed(resource: string): void {
    this.#counters.lists.inc({ resource });
  }

  watchEnded(resource: string, why: "closed" | "silent" | "expired" | "error"): void {
    this.#counters.watches.inc({ resource, why });
  }

  /** A relay's admin API answered, or did not. */
  relayAnswered(method: string, code: string): void {
    this.#counters.relayRequests.inc({ method, code });
  }

  /** Cloudflare's API answered, or did not. */
  cloudflareAnswered(method: string, code: string): void {
    this.#counters.cloudflareRequests.inc({ method, code });
  }

  /** The webhook answered the API server. */
  admitted(result: AdmissionResult): void {
    this.#counters.admissions.inc({ result });
  }

  /** The webhook refused a connection or a request before there was a review. */
  webhookRefused(reason: string): void {
    this.#counters.webhookRefusals.inc({ reason });
  }

  reconciled(kind: string, result: "done" | "retry" | "failed", seconds: number): void {
    this.#counters.reconciled.inc({ kind, result });
    if (result === "failed") return;
    const latency = this.#durations.get(kind) ?? new Latency();
    this.#durations.set(kind, latency);
    latency.observe(seconds);
  }
}

function countersOf(instruments: Instruments) {
  return {
    requests: instruments.counter(
      "culvert_operator_kube_requests_total",
      "Requests to the API server, by verb, resource and status code.",
      "verb",
      "resource",
      "code",
    ),
    lists: instruments.counter(
      "culvert_operator_kube_lists_total",
      "Full lists of a collection.",
      "resource",
    ),
    watches: instruments.counter(
      "culvert_operator_kube_watch_ends_total",
      "Watches that ended: in order, by silence, as expired, or by an error.",
      "resource",
      "why",
    ),
    relayRequests: instruments.counter(
      "culvert_operator_relay_requests_total",
      "Requests to relays' admin APIs, by method and status code.",
      "method",
      "code",
    ),
    cloudflareRequests: instruments.counter(
      "culvert_operator_cloudflare_requests_total",
      "Requests to Cloudflare's API, by method and status code.",
      "method",
      "code",
    ),
    reconciled: instruments.counter(
      "culvert_operator_reconciliations_total",
      "Objects that were worked on, by kind and by result.",
      "kind",
      "result",
    ),
    admissions: instruments.counter(
      "culvert_operator_admissions_total",
      "Pods that the webhook was asked about, by result.",
      "result",
    ),
    webhookRefusals: instruments.counter(
      "culvert_operator_webhook_refusals_total",
      "Connections and requests that the webhook refused before there was a review, by reason.",
      "reason",
    ),
  };
}

function observeStats(instruments: Instruments, stats: () => OperatorStats): void {
  const gauge = (name: string, help: string, value: () => number): void =>
    instruments.observeGauge({ name, help }, (sample) => sample(value()));
  gauge("culvert_operator_leads", "1 while this replica acts, else 0.", () => +stats().leads);
  gauge(
    "culvert_operator_queue_depth",
    "Objects that wait to be worked on.",
    () => stats().depth,
  );
  gauge(
    "culvert_operator_queue_held_back",
    "Objects that wait because work on others of their namespace, or of their ClusterTunnel, is slow.",
    () => stats().heldBack,
  );
  gauge("culvert_operator_tunnels", "Tunnels and ClusterTunnels.", () => stats().tunnels);
  gauge("culvert_operator_clusters", "Clusters.", () => stats().clusters);
  gauge(
    "culvert_operator_registration_tokens",
    "RegistrationTokens.",
    () => stats().registrationTokens,
  );
  gauge("culvert_operator_bindings", "TunnelBindings.", () => stats().bindings);
  gauge(
    "culvert_operator_cloudflare_records_waiting",
    "Records that wait to be made, checked or removed at Cloudflare.",
    () => stats().cloudflareRecords,
  );
  instruments.observeGauge({
    name: "culvert_operator_webhook_certificate_expiry_timestamp_seconds",
    help: "When the certificate that the webhook shows expires, in seconds since 1970.",
  }, (sample) => {
    const { webhookExpiresMs } = stats();
    if (webhookExpiresMs !== undefined) sample(webhookExpiresMs / 1_000);
  });
  instruments.observeGauge({
    name: "culvert_operator_webhook_review_bytes",
    help: "Bytes of the reviews that the webhook reads or answers now.",
  }, (sample) => {
    const { webhookReviewBytes } = stats();
    if (webhookReviewBytes !== undefined) sample(webhookReviewBytes);
  });
}
