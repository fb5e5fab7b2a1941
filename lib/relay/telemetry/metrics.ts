/** The relay's metrics: argocd-cluster-proxy's names and labels, and what it doesn't have. */
import type { Instruments } from "../../instruments.ts";
import { ProgramMetrics } from "../../program_metrics.ts";
import type { DenialReason } from "../callers/caller.ts";
import type { RequestStats } from "./request_stats.ts";
import {
  observeRequests,
  observeServices,
  observeSessions,
  observeTraffic,
} from "./observed_metrics.ts";
import { type RelayCounters, relayCounters } from "./relay_counters.ts";
import { StatsByName } from "./stats_by_name.ts";
import { MetricHistory } from "./metric_history.ts";
import type { SessionStats } from "../../protocol/session_options.ts";
import { CloseCode } from "../../protocol/errors.ts";
import { endReason, type SessionEnd } from "../../protocol/session_end.ts";
import type { RetryReason } from "../forward/retry_rules.ts";
import type { LookupResult } from "../directory/lookups.ts";
import type { HopResult } from "../hop/routing_parts.ts";
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
  | "web_certs"
  | "admin_tokens";

/** Close codes that get a label of their own: those of RFC 6455, and those of the tunnel. */
const knownCodes = new Set<number>([
  ...[1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015],
  ...Object.values(CloseCode),
]);

/** An agent may end its session with any code; all others are one, so that it can't add series. */
function codeLabel(code: number): string {
  return knownCodes.has(code) ? String(code) : "other";
}

/** Answers that go on for as long as somebody follows what happens. */
export type FollowerKind = "watch" | "status_events";

/** What a relay's metrics are made of. */
export interface MetricsParts {
  readonly instruments: Instruments;
  /** Whose sessions are shown. */
  readonly registry: Registry;
  readonly version: string;
  readonly nowMs?: () => number;
}

/** The metrics of one relay. */
export class RelayMetrics extends ProgramMetrics<ConfigSource> {
  readonly history: MetricHistory = new MetricHistory();
  readonly #counters: RelayCounters;
  readonly #clusters: StatsByName;
  readonly #services: StatsByName;
  readonly #endedSessions: SessionStats = { bytesIn: 0, bytesOut: 0, windowStalls: 0 };
  readonly #connections = new Map<string, () => number>();
  readonly #followers = new Map<FollowerKind, Set<() => number>>();
  #directory: (() => { isUp: boolean; waiting: number }) | undefined;

  constructor({ instruments, registry, version, nowMs = () => performance.now() }: MetricsParts) {
    super(instruments, "relay", version);
    this.#counters = relayCounters(instruments);
    this.#clusters = new StatsByName(nowMs);
    this.#services = new StatsByName(nowMs);
    observeRequests(instruments, this.#clusters);
    observeServices(instruments, this.#services);
    this.#observeRelay(instruments);
    observeSessions(instruments, registry);
    observeTraffic(instruments, registry, this.#endedSessions);
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
   * A cluster's stats.
   *
   * @param cluster The id of a cluster that exists, or `unknown`: what callers make up must not
   *   become a series of its own.
   */
  cluster(cluster: string): RequestStats {
    return this.#clusters.of(cluster);
  }

  /** A service's stats. @param name of a service that exists */
  service(name: string): RequestStats {
    return this.#services.of(name);
  }

  /** A request never came to be one. */
  requestRefused(status: number): void {
    this.#counters.refused.inc({ reason: String(status) });
    if (status === 408) this.limitHit("header-timeout");
    if (status === 431) this.limitHit("max-header-bytes");
  }

  /**
   * Counts that a limit was met.
   *
   * @param limit The name of the limit's option, without its dashes, or a fixed name like those.
   */
  limitHit(limit: string): void {
    this.#counters.limitHits.inc({ limit });
    this.history.limitHit(limit);
    // argocd-cluster-proxy's name for all limits on requests per second.
    if (limit.endsWith("rate-limit")) this.#counters.rateLimited.inc();
  }

  /** A record of the audit log was lost. */
  auditFailed(): void {
    this.#counters.auditFailures.inc();
  }

  authFailed(endpoint: "connect" | "tunnel" | "admin"): void {
    this.#counters.authFailures.inc({ endpoint });
  }

  authSlowed(endpoint: "connect" | "tunnel" | "admin"): void {
    this.#counters.authSlowed.inc({ endpoint });
  }

  /** A TLS handshake failed. @param reason One of a closed list. */
  tlsHandshakeFailed(reason: string): void {
    this.#counters.handshakeFailures.inc({ reason });
  }

  /** An HTTP/2 connection was ended because of what its client did. @param reason One of a closed list. */
  http2Abused(reason: string): void {
    this.#counters.http2Abuse.inc({ reason });
  }

  /** A connection of a trusted proxy's did not begin with a PROXY header. @param reason One of a closed list. */
  proxyHeaderRefused(reason: string): void {
    this.#counters.proxyHeaders.inc({ reason });
  }

  override certificateExpires(name: string, seconds: number): void {
    super.certificateExpires(name, seconds);
    this.history.certificateExpires(name, seconds * 1_000);
  }

  override certificateGone(name: string): void {
    super.certificateGone(name);
    this.history.certificateGone(name);
  }

  override configLoaded(source: ConfigSource): void {
    super.configLoaded(source);
    this.history.reloaded(source, "loaded");
  }

  override configReloaded(
    source: ConfigSource,
    result: "applied" | "refused",
    reason?: string,
  ): void {
    super.configReloaded(source, result, reason);
    this.history.reloaded(source, result, reason);
  }

  requestRetried(reason: RetryReason): void {
    this.#counters.retries.inc({ reason });
  }

  callerDenied(reason: DenialReason): void {
    this.#counters.callersDenied.inc({ reason });
  }

  callerKeysFetched(result: "ok" | "failed"): void {
    this.#counters.callerKeys.inc({ result });
    if (result === "ok") this.#counters.callerKeysTime.setToCurrentTime();
  }

  /** Has the gauges about the directory show what it is like when Prometheus asks. */
  observeDirectory(stats: () => { isUp: boolean; waiting: number }): void {
    this.#directory = stats;
  }

  /** Has the gauge of a listener's connections show how many are open when Prometheus asks. */
  observeConnections(listener: string, count: () => number): void {
    this.#connections.set(listener, count);
  }

  /** Has the gauge of followers show how many there are when Prometheus asks. */
  observeFollowers(kind: FollowerKind, count: () => number): void {
    const counts = this.#followers.get(kind) ?? new Set();
    this.#followers.set(kind, counts.add(count));
  }

  lookedUp(result: LookupResult): void {
    this.#counters.lookups.inc({ result });
  }

  hopped(result: HopResult): void {
    this.#counters.hops.inc({ result });
  }

  directoryFailed(): void {
    this.#counters.directoryErrors.inc();
  }

  sessionEnded(end: SessionEnd, stats: SessionStats): void {
    this.#counters.sessionsEnded.inc({ code: codeLabel(end.code) });
    this.#counters.sessionEnds.inc({ reason: endReason(end) });
    this.#endedSessions.bytesIn += stats.bytesIn;
    this.#endedSessions.bytesOut += stats.bytesOut;
    this.#endedSessions.windowStalls += stats.windowStalls;
  }

  #observeRelay(instruments: Instruments): void {
    instruments.observeGauge({
      name: "culvert_directory_up",
      help: "1 if the relays' directory answers, else 0; no value without a directory.",
      labels: ["directory"],
    }, (sample) => {
      if (this.#directory) sample(Number(this.#directory().isUp), { directory: "redis" });
    });
    instruments.observeGauge({
      name: "culvert_waiting_requests",
      help: "Requests that wait for a session that has just left its relay.",
    }, (sample) => sample(this.#directory?.().waiting ?? 0));
    instruments.observeGauge({
      name: "culvert_connections",
      help: "Connections that are open, by listener; those that have yet to shake hands too.",
      labels: ["listener"],
    }, (sample) => {
      for (const [listener, count] of this.#connections) sample(count(), { listener });
    });
    instruments.observeGauge({
      name: "culvert_followers",
      help: "Watches of the admin API and event streams of the status page that are open, by kind.",
      labels: ["kind"],
    }, (sample) => {
      for (const [kind, counts] of this.#followers) {
        sample([...counts].reduce((sum, count) => sum + count(), 0), { kind });
      }
    });
  }
}
