/** The agent's metrics: argocd-cluster-proxy's names, and what it doesn't have. */
import type { Instruments } from "../instruments.ts";
import { ProgramMetrics } from "../program_metrics.ts";
import { streamErrorCodes } from "../protocol/errors.ts";
import type { SessionEndReason } from "../protocol/session_end.ts";
import { certificateName, credentialName, type TargetConfig } from "./target_config.ts";

/** The directions in which a TCP stream's bytes are counted. */
const directions = ["to_target", "from_target"] as const;

/** What gauges ask the agent when Prometheus asks them. */
export interface AgentStats {
  /** Sessions that take new requests. */
  readonly connections: number;
  readonly openStreams: number;
  readonly roundTripMs: number;
  readonly idleUpstreamConnections: number;
  /** Open TCP connections by the target's name. */
  readonly openTcp: Iterable<[string, number]>;
}

/**
 * What is read again when its files change: the token; the proxy; TLS with the relay, with the proxy,
 * with the target of `--target`; the file of `--targets`; TLS with the targets in there.
 */
export type AgentConfigSource =
  | "token"
  | "proxy"
  | "relay_tls"
  | "proxy_tls"
  | "target_tls"
  | "targets"
  | "targets_tls";

/** The metrics of one agent. */
export class AgentMetrics extends ProgramMetrics<AgentConfigSource> {
  readonly #metrics: ReturnType<typeof metricsOf>;
  /** Names that have series: those that are served now. */
  readonly #targets = new Set<string>();
  /** The same of those that stand for others. */
  readonly #pathTargets = new Set<string>();

  constructor(instruments: Instruments, stats: () => AgentStats, version: string) {
    super(instruments, "agent", version);
    this.#metrics = metricsOf(instruments);
    observeStats(instruments, stats);
  }

  reconnecting(): void {
    this.#metrics.reconnects.inc();
  }

  disconnected(reason: SessionEndReason | "stopped"): void {
    this.#metrics.disconnects.inc({ reason });
  }

  /** A target is served from now on. */
  targetAdded(target: string): void {
    this.#targets.add(target);
    this.#metrics.targetRequests.inc({ target }, 0);
  }

  /**
   * A target is not served any more: its series go, so that their number stays bounded.
   *
   * @param next What is served under its name from now on.
   */
  targetLeft(config: TargetConfig, next: TargetConfig | undefined): void {
    if (!next?.credential) this.#metrics.credentials.remove({ name: credentialName(config) });
    for (const key of ["ca", "cert"] as const) {
      this.certificateGone(certificateName(config.name, key));
    }
    if (next) return;
    const target = config.name;
    this.#targets.delete(target);
    for (
      const metric of [
        this.#metrics.targetRequests,
        this.#metrics.targetRefusals,
        this.#metrics.tcpConnections,
      ]
    ) {
      metric.remove({ target });
    }
    for (const code of streamErrorCodes) this.#metrics.targetErrors.remove({ target, code });
    for (const direction of directions) this.#metrics.tcpBytes.remove({ target, direction });
  }

  /** A target that stands for others is served from now on. */
  pathTargetAdded(target: string): void {
    this.#pathTargets.add(target);
    this.#metrics.pathsNotServed.inc({ target }, 0);
  }

  /** It is not any more: its series goes. */
  pathTargetLeft(target: string): void {
    this.#pathTargets.delete(target);
    this.#metrics.pathsNotServed.remove({ target });
  }

  /** A request's path matches none of the target's. */
  pathNotServed(target: string): void {
    if (this.#pathTargets.has(target)) this.#metrics.pathsNotServed.inc({ target });
  }

  forwarded(target: string): void {
    this.#metrics.requests.inc();
    if (this.#targets.has(target)) this.#metrics.targetRequests.inc({ target });
  }

  failed(target: string, code: string): void {
    this.#metrics.errors.inc();
    this.#metrics.errorsByCode.inc({ code });
    if (this.#targets.has(target)) this.#metrics.targetErrors.inc({ target, code });
  }

  /** A stream of TCP has its target. */
  tcpConnected(target: string): void {
    if (this.#targets.has(target)) this.#metrics.tcpConnections.inc({ target });
  }

  /** A stream of TCP is over that had its target. */
  tcpClosed(target: string, toTarget: number, fromTarget: number): void {
    if (!this.#targets.has(target)) return;
    this.#metrics.tcpBytes.inc({ target, direction: "to_target" }, toTarget);
    this.#metrics.tcpBytes.inc({ target, direction: "from_target" }, fromTarget);
  }

  /** The target answered 401 to the agent's own credential. */
  credentialRefused(target: string): void {
    this.#metrics.credentialRefusals.inc();
    if (this.#targets.has(target)) this.#metrics.targetRefusals.inc({ target });
  }

  /** When an option's token expires, in seconds since 1970; undefined if it does not tell. */
  credentialExpires(name: string, seconds: number | undefined): void {
    if (seconds === undefined) this.#metrics.credentials.remove({ name });
    else this.#metrics.credentials.set({ name }, seconds);
  }
}

function metricsOf(instruments: Instruments) {
  return {
    reconnects: instruments.counter(
      "agent_reconnects_total",
      "Attempts to reach the relay again.",
    ),
    disconnects: instruments.counter(
      "culvert_agent_disconnects_total",
      "Sessions with the relay that ended, by reason.",
      "reason",
    ),
    requests: instruments.counter(
      "agent_upstream_requests_total",
      "Requests that were forwarded to the target.",
    ),
    errors: instruments.counter(
      "agent_upstream_errors_total",
      "Requests that failed between agent and target.",
    ),
    errorsByCode: instruments.counter(
      "agent_upstream_errors_by_code_total",
      "Requests that failed between agent and target, by the protocol's error code.",
      "code",
    ),
    credentialRefusals: instruments.counter(
      "culvert_agent_credential_refusals_total",
      "Answers of the target with status 401 to the agent's own credential.",
    ),
    credentials: instruments.gauge(
      "culvert_agent_credential_not_after_timestamp_seconds",
      "When the agent's token expires, in seconds since 1970, by its option's name; absent " +
        "for a token that does not tell.",
      "name",
    ),
    targetRequests: instruments.counter(
      "culvert_agent_target_requests_total",
      "Requests that were forwarded, by the target's name.",
      "target",
    ),
    targetErrors: instruments.counter(
      "culvert_agent_target_errors_total",
      "Requests and connections that failed between agent and target, by the target's name " +
        "and the protocol's error code.",
      "target",
      "code",
    ),
    targetRefusals: instruments.counter(
      "culvert_agent_target_credential_refusals_total",
      "Answers with status 401 to the agent's own credential, by the target's name.",
      "target",
    ),
    pathsNotServed: instruments.counter(
      "culvert_agent_paths_not_served_total",
      "Requests whose path leads to none of a target's own, by the name of that with paths.",
      "target",
    ),
    tcpConnections: instruments.counter(
      "culvert_agent_tcp_connections_total",
      "TCP connections to targets that were made for streams, by the target's name.",
      "target",
    ),
    tcpBytes: instruments.counter(
      "culvert_agent_tcp_bytes_total",
      "Bytes of TCP streams that are over, by the target's name and by direction.",
      "target",
      "direction",
    ),
  };
}

function observeStats(instruments: Instruments, stats: () => AgentStats): void {
  instruments.observeGauge({
    name: "culvert_agent_tcp_open_connections",
    help: "TCP connections of streams that are open, by the target's name.",
    labels: ["target"],
  }, (sample) => {
    for (const [target, count] of stats().openTcp) sample(count, { target });
  });
  const gauge = (name: string, help: string, value: () => number): void =>
    instruments.observeGauge({ name, help }, (sample) => sample(value()));
  gauge(
    "agent_connected",
    "1 if a session with the relay is up, else 0.",
    () => Number(stats().connections > 0),
  );
  gauge(
    "agent_connections",
    "Sessions with relays that are up and take new requests.",
    () => stats().connections,
  );
  gauge(
    "agent_open_streams",
    "Requests and upgraded connections that are open.",
    () => stats().openStreams,
  );
  gauge(
    "agent_tunnel_round_trip_seconds",
    "The last measured round trip to the relay.",
    () => stats().roundTripMs / 1000,
  );
  gauge(
    "agent_upstream_idle_connections",
    "Idle connections to targets.",
    () => stats().idleUpstreamConnections,
  );
}
