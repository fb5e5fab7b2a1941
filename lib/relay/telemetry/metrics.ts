/** The relay's metrics: argocd-cluster-proxy's names and labels, and what it doesn't have. */
import { Counter, Gauge, Registry as Metrics } from "prom-client";
import { processMetrics } from "../../process_metrics.ts";
import type { DenialReason } from "../callers/caller.ts";
import type { RequestFigures } from "./request_figures.ts";
import { FigureSeries } from "./figure_series.ts";
import { histogramText } from "./latency.ts";
import { MetricHistory } from "./metric_history.ts";
import type { SessionStats } from "../../protocol/session.ts";
import { CloseCode } from "../../protocol/errors.ts";
import { endReason, type SessionEnd } from "../../protocol/session_end.ts";
import type { RetryReason } from "../forward/retry.ts";
import type { LookupResult } from "../directory/lookups.ts";
import type { HopResult } from "../hop/peer_routing.ts";
import type { Registry } from "../agents/registry.ts";

/** What is read again when its files change. */
export type ConfigSource =
  | "clusters"
  | "services"
  | "caller_tokens"
  | "caller_certificates"
  | "caller_jwt_rules"
  | "relay_tokens"
  | "tls"
  | "web_certs";

/** Close codes that get a label of their own: those of RFC 6455, and those of the tunnel. */
const knownCodes = new Set<number>([
  ...[1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015],
  ...Object.values(CloseCode),
]);

/** An agent may end its session with any code; all others are one, so that it can't add series. */
function codeLabel(code: number): string {
  return knownCodes.has(code) ? String(code) : "other";
}

/** Counters, gauges and histograms of one relay. */
export class RelayMetrics {
  readonly history: MetricHistory = new MetricHistory();
  readonly #metrics = new Metrics();
  readonly #clusters: FigureSeries;
  readonly #services: FigureSeries;
  readonly #authFailures = this.#counter(
    "auth_failures_total",
    "Refused credentials, by endpoint.",
    "endpoint",
  );
  readonly #authSlowed = this.#counter(
    "auth_failures_slowed_total",
    "Refused credentials of addresses that had failed before: late answers and 429.",
    "endpoint",
  );
  readonly #refused = this.#counter(
    "proxy_refused_requests_total",
    "Requests that were not valid HTTP, or for a host that no service has, by status.",
    "reason",
  );
  readonly #rateLimited = this.#counter(
    "proxy_rate_limited_total",
    "Requests that met the relay's rate limit.",
  );
  readonly #limitHits = this.#counter(
    "culvert_limit_hits_total",
    "Times that a limit was met, by the name of its option.",
    "limit",
  );
  readonly #callersDenied = this.#counter(
    "culvert_callers_denied_total",
    "Requests of callers that were not let in, by reason.",
    "reason",
  );
  readonly #callerKeys = this.#counter(
    "culvert_caller_keys_fetches_total",
    "Attempts to fetch the keys of callers' issuer, by result.",
    "result",
  );
  readonly #callerKeysTime = this.#gauge(
    "culvert_caller_keys_fetched_timestamp_seconds",
    "When the keys of callers' issuer were last fetched, in seconds since 1970; 0 for never.",
  );
  readonly #auditFailures = this.#counter(
    "culvert_audit_failures_total",
    "Audit records that could not be written.",
  );
  readonly #sessionsEnded = this.#counter(
    "tunnel_sessions_ended_total",
    "Agents' sessions that ended, by WebSocket close code.",
    "code",
  );
  readonly #directoryErrors = this.#counter(
    "culvert_directory_errors_total",
    "Requests to the directory that failed, and values in it that no relay writes.",
  );
  readonly #lookups = this.#counter(
    "culvert_directory_lookups_total",
    "Look-ups of the relays that hold a cluster's sessions, by result.",
    "result",
  );
  readonly #hops = this.#counter(
    "culvert_forwarded_requests_total",
    "Tries to have another relay answer a request, by result.",
    "result",
  );
  readonly #directoryUp = this.#gauge(
    "culvert_directory_up",
    "1 if the relays' directory answers, else 0; no value without a directory.",
    "directory",
  );
  readonly #waiting = this.#gauge(
    "culvert_waiting_requests",
    "Requests that wait for a session that has just left its relay.",
  );
  readonly #handshakeFailures = this.#counter(
    "culvert_tls_handshake_failures_total",
    "TLS handshakes with the relay's listeners that failed, by reason.",
    "reason",
  );
  readonly #http2Abuse = this.#counter(
    "culvert_http2_connections_ended_total",
    "HTTP/2 connections of the web listener that the relay ended because of what their client did.",
    "reason",
  );
  readonly #proxyHeaders = this.#counter(
    "culvert_proxy_headers_refused_total",
    "Connections of trusted proxies without a valid PROXY header, by reason.",
    "reason",
  );
  readonly #certificates = this.#gauge(
    "culvert_certificate_not_after_timestamp_seconds",
    "When a certificate in use expires, in seconds since 1970, by its option's name.",
    "name",
  );
  readonly #configReloads = this.#counter(
    "culvert_config_reloads_total",
    "Files that were read again while running, by what they hold and by result.",
    "source",
    "result",
  );
  readonly #configReloadTime = this.#gauge(
    "culvert_config_last_reload_success_timestamp_seconds",
    "When what is in use was read, in seconds since 1970, by source.",
    "source",
  );
  readonly #sessionEnds = this.#counter(
    "culvert_session_ends_total",
    "Agents' sessions that ended, by reason.",
    "reason",
  );
  readonly #retries = this.#counter(
    "culvert_request_retries_total",
    "Requests that were sent through another session, by the reason why that was safe.",
    "reason",
  );
  readonly #endedSessions: SessionStats = { bytesIn: 0, bytesOut: 0, windowStalls: 0 };
  readonly #registry: Registry;
  readonly #connections = new Map<string, () => number>();
  #observeDirectory: () => void = () => {};

  constructor(
    registry: Registry,
    version: string,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#registry = registry;
    this.#clusters = new FigureSeries(nowMs);
    this.#services = new FigureSeries(nowMs);
    this.#registerRequestMetrics();
    this.#registerServiceMetrics();
    this.#registerConnections();
    this.#registerSessionMetrics(version);
  }

  /** The content type of {@link text}. */
  get contentType(): string {
    return this.#metrics.contentType;
  }

  /** Everything in Prometheus' text format. */
  async text(): Promise<string> {
    this.#observeDirectory();
    const clusters = this.#clusters.entries();
    return await this.#metrics.metrics() +
      histogramText(
        "proxy_request_duration_seconds",
        "Seconds from a request's head to the end of its answer.",
        clusters.map(([id, { duration }]) => [id, duration]),
      ) +
      histogramText(
        "culvert_time_to_first_byte_seconds",
        "Seconds from a request's head to the head of its answer.",
        clusters.map(([id, { firstByte }]) => [id, firstByte]),
      ) +
      await processMetrics().metrics();
  }

  /** Says which clusters there are. The series of one that is gone end some minutes later. */
  useClusters(ids: Iterable<string>): void {
    this.#clusters.use(ids);
  }

  /** The same for services. */
  useServices(names: Iterable<string>): void {
    this.#services.use(names);
  }

  /**
   * A cluster's figures.
   *
   * @param cluster The id of a cluster that exists, or `unknown`: what callers make up must not
   *   become a series of its own.
   */
  cluster(cluster: string): RequestFigures {
    return this.#clusters.of(cluster);
  }

  /** A service's figures. @param name of a service that exists */
  service(name: string): RequestFigures {
    return this.#services.of(name);
  }

  /** A request never came to be one. */
  requestRefused(status: number): void {
    this.#refused.inc({ reason: String(status) });
    if (status === 408) this.limitHit("header-timeout");
    if (status === 431) this.limitHit("max-header-bytes");
  }

  /**
   * Counts that a limit was met.
   *
   * @param limit The name of the limit's option, without its dashes, or a fixed name like those.
   */
  limitHit(limit: string): void {
    this.#limitHits.inc({ limit });
    this.history.limitHit(limit);
    // argocd-cluster-proxy's name for all limits on requests per second.
    if (limit.endsWith("rate-limit")) this.#rateLimited.inc();
  }

  /** A record of the audit log was lost. */
  auditFailed(): void {
    this.#auditFailures.inc();
  }

  authFailed(endpoint: "connect" | "tunnel"): void {
    this.#authFailures.inc({ endpoint });
  }

  authSlowed(endpoint: "connect" | "tunnel"): void {
    this.#authSlowed.inc({ endpoint });
  }

  /** A TLS handshake failed. @param reason One of a closed list. */
  tlsHandshakeFailed(reason: string): void {
    this.#handshakeFailures.inc({ reason });
  }

  /** An HTTP/2 connection was ended because of what its client did. @param reason One of a closed list. */
  http2Abused(reason: string): void {
    this.#http2Abuse.inc({ reason });
  }

  /** A connection of a trusted proxy's did not begin with a PROXY header. @param reason One of a closed list. */
  proxyHeaderRefused(reason: string): void {
    this.#proxyHeaders.inc({ reason });
  }

  /** When the certificates of an option's file expire, in seconds since 1970. */
  certificateExpires(name: string, seconds: number): void {
    this.#certificates.set({ name }, seconds);
    this.history.certificateExpires(name, seconds * 1_000);
  }

  /** A certificate is in use no more. */
  certificateGone(name: string): void {
    this.#certificates.remove({ name });
    this.history.certificateGone(name);
  }

  /** What a source held at start is in use. */
  configLoaded(source: ConfigSource): void {
    this.#configReloads.inc({ source, result: "applied" }, 0);
    this.#configReloads.inc({ source, result: "refused" }, 0);
    this.#configReloadTime.setToCurrentTime({ source });
    this.history.reloaded(source, "loaded");
  }

  /**
   * A source changed while running: what it holds now is in use, or what it held before.
   *
   * @param reason Why it was refused.
   */
  configReloaded(source: ConfigSource, result: "applied" | "refused", reason?: string): void {
    this.#configReloads.inc({ source, result });
    this.history.reloaded(source, result, reason);
    if (result === "applied") this.#configReloadTime.setToCurrentTime({ source });
  }

  requestRetried(reason: RetryReason): void {
    this.#retries.inc({ reason });
  }

  callerDenied(reason: DenialReason): void {
    this.#callersDenied.inc({ reason });
  }

  callerKeysFetched(result: "ok" | "failed"): void {
    this.#callerKeys.inc({ result });
    if (result === "ok") this.#callerKeysTime.setToCurrentTime();
  }

  /** Has the gauges about the directory show what it is like when Prometheus asks. */
  observeDirectory(figures: () => { isUp: boolean; waiting: number }): void {
    this.#observeDirectory = () => {
      const { isUp, waiting } = figures();
      this.#directoryUp.set({ directory: "redis" }, Number(isUp));
      this.#waiting.set(waiting);
    };
  }

  /** Has the gauge of a listener's connections show how many are open when Prometheus asks. */
  observeConnections(listener: string, count: () => number): void {
    this.#connections.set(listener, count);
  }

  lookedUp(result: LookupResult): void {
    this.#lookups.inc({ result });
  }

  hopped(result: HopResult): void {
    this.#hops.inc({ result });
  }

  directoryFailed(): void {
    this.#directoryErrors.inc();
  }

  sessionEnded(end: SessionEnd, stats: SessionStats): void {
    this.#sessionsEnded.inc({ code: codeLabel(end.code) });
    this.#sessionEnds.inc({ reason: endReason(end) });
    this.#endedSessions.bytesIn += stats.bytesIn;
    this.#endedSessions.bytesOut += stats.bytesOut;
    this.#endedSessions.windowStalls += stats.windowStalls;
  }

  #counter<L extends string = never>(name: string, help: string, ...labelNames: L[]): Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.#metrics] });
  }

  #gauge<L extends string = never>(name: string, help: string, ...labelNames: L[]): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: [this.#metrics] });
  }

  #registerRequestMetrics(): void {
    const clusters = this.#clusters;
    const registers = [this.#metrics];
    new Counter({
      name: "proxy_requests_total",
      help: "Requests that were proxied, by cluster, method and status code.",
      labelNames: ["cluster", "method", "code"],
      registers,
      collect() {
        this.reset();
        for (const [cluster, { requests }] of clusters.entries()) {
          for (const [key, count] of requests) {
            const [method = "", code = ""] = key.split(" ");
            this.inc({ cluster, method, code }, count);
          }
        }
      },
    });
    new Counter({
      name: "proxy_aborted_requests_total",
      help:
        "Requests whose answer was not completed: the caller went away or the target broke off.",
      labelNames: ["cluster"],
      registers,
      collect() {
        this.reset();
        for (const [cluster, { aborted }] of clusters.entries()) {
          if (aborted > 0) this.inc({ cluster }, aborted);
        }
      },
    });
    new Gauge({
      name: "tunnel_active_connections",
      help: "Requests and upgraded connections that are open, by cluster.",
      labelNames: ["cluster"],
      registers,
      collect() {
        this.reset();
        for (const [cluster, { open }] of clusters.entries()) this.set({ cluster }, open);
      },
    });
  }

  /** A service's requests count among its cluster's too. */
  #registerServiceMetrics(): void {
    const services = this.#services;
    const registers = [this.#metrics];
    new Counter({
      name: "culvert_service_requests_total",
      help: "Requests for services, by service, method and status code.",
      labelNames: ["service", "method", "code"],
      registers,
      collect() {
        this.reset();
        for (const [service, { requests }] of services.entries()) {
          for (const [key, count] of requests) {
            const [method = "", code = ""] = key.split(" ");
            this.inc({ service, method, code }, count);
          }
        }
      },
    });
    new Gauge({
      name: "culvert_service_open_requests",
      help: "Requests and connections of services that are open, by service.",
      labelNames: ["service"],
      registers,
      collect() {
        this.reset();
        for (const [service, { open }] of services.entries()) this.set({ service }, open);
      },
    });
  }

  #registerConnections(): void {
    const connections = this.#connections;
    new Gauge({
      name: "culvert_connections",
      help: "Connections that are open, by listener; those that have yet to shake hands too.",
      labelNames: ["listener"],
      registers: [this.#metrics],
      collect() {
        for (const [listener, count] of connections) this.set({ listener }, count());
      },
    });
  }

  /** Figures that sessions keep anyway and that are read only when Prometheus asks. */
  #registerSessionMetrics(version: string): void {
    const registry = this.#registry;
    const ended = this.#endedSessions;
    const registers = [this.#metrics];
    new Gauge({
      name: "agents_connected",
      help: "Agents that are connected.",
      registers,
      collect() {
        this.set(registry.size);
      },
    });
    new Gauge({
      name: "tunnel_sessions",
      help: "Agents' sessions, by protocol version.",
      labelNames: ["version"],
      registers,
      collect() {
        this.reset();
        for (const { session } of registry.all()) this.inc({ version: String(session.version) });
      },
    });
    new Gauge({
      name: "culvert_open_streams",
      help: "Streams of the tunnel that are open, in all sessions of each cluster.",
      labelNames: ["cluster"],
      registers,
      collect() {
        this.reset();
        for (const { session, cluster: { id } } of registry.all()) {
          this.inc({ cluster: id }, session.openStreams);
        }
      },
    });
    new Gauge({
      name: "tunnel_round_trip_seconds",
      help:
        "The last measured round trip to each cluster's agents; the longest where there are several.",
      labelNames: ["cluster"],
      registers,
      collect() {
        this.reset();
        const longest = new Map<string, number>();
        for (const { session, cluster: { id } } of registry.all()) {
          longest.set(id, Math.max(longest.get(id) ?? 0, session.roundTripMs / 1000));
        }
        for (const [cluster, seconds] of longest) this.set({ cluster }, seconds);
      },
    });
    new Counter({
      name: "tunnel_bytes_total",
      help: "Bytes of all sessions' messages, by direction as the relay sees it.",
      labelNames: ["direction"],
      registers,
      collect() {
        this.reset();
        let { bytesIn, bytesOut } = ended;
        for (const { session: { stats } } of registry.all()) {
          bytesIn += stats.bytesIn;
          bytesOut += stats.bytesOut;
        }
        this.inc({ direction: "in" }, bytesIn);
        this.inc({ direction: "out" }, bytesOut);
      },
    });
    new Counter({
      name: "tunnel_window_stalls_total",
      help: "Times that a stream had bytes to send and no credit.",
      registers,
      collect() {
        this.reset();
        let { windowStalls } = ended;
        for (const { session: { stats } } of registry.all()) windowStalls += stats.windowStalls;
        this.inc(windowStalls);
      },
    });
    new Gauge({
      name: "culvert_build_info",
      help: "Always 1; the labels say which program this is.",
      labelNames: ["program", "version"],
      registers,
    }).set({ program: "relay", version }, 1);
  }
}
