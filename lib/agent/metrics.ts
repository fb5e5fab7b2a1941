/** The agent's metrics: argocd-cluster-proxy's names, and what it doesn't have. */
import { Counter, Gauge, Registry as Metrics } from "prom-client";
import { processMetrics } from "../process_metrics.ts";
import { streamErrorCodes } from "../protocol/errors.ts";
import type { SessionEndReason } from "../protocol/session_end.ts";
import { certificateName, credentialName, type TargetConfig } from "./target_config.ts";

/** Of a TCP stream's bytes. */
const directions = ["to_target", "from_target"] as const;

/** What gauges ask the agent when Prometheus asks them. */
export interface AgentFigures {
  /** Sessions that take new requests. */
  readonly connections: number;
  readonly openStreams: number;
  readonly roundTripMs: number;
  readonly idleUpstreamConnections: number;
  /** Open TCP connections by the target's name. */
  readonly openTcp: Iterable<[string, number]>;
}

/**
 * What is read again when its files change: TLS with the relay, with the proxy, with the target of
 * `--target`; the file of `--targets`; TLS with the targets in there.
 */
export type AgentConfigSource =
  | "relay_tls"
  | "proxy_tls"
  | "target_tls"
  | "targets"
  | "targets_tls";

/** Counters and gauges of one agent. */
export class AgentMetrics {
  readonly #metrics = new Metrics();
  readonly #reconnects: Counter;
  readonly #disconnects: Counter<"reason">;
  readonly #requests: Counter;
  readonly #errors: Counter;
  readonly #errorsByCode: Counter<"code">;
  readonly #configReloads: Counter<"source" | "result">;
  readonly #configReloadTime: Gauge<"source">;
  readonly #certificates: Gauge<"name">;
  readonly #credentialRefusals: Counter;
  readonly #targetRequests: Counter<"target">;
  readonly #targetErrors: Counter<"target" | "code">;
  readonly #targetRefusals: Counter<"target">;
  readonly #tcpConnections: Counter<"target">;
  readonly #tcpBytes: Counter<"target" | "direction">;
  /** Names that have series: those that are served now. */
  readonly #targets = new Set<string>();
  readonly #credentials: Gauge<"name">;

  constructor(figures: () => AgentFigures, version: string) {
    const registers = [this.#metrics];
    this.#reconnects = new Counter({
      name: "agent_reconnects_total",
      help: "Attempts to reach the relay again.",
      registers,
    });
    this.#disconnects = new Counter({
      name: "culvert_agent_disconnects_total",
      help: "Sessions with the relay that ended, by reason.",
      labelNames: ["reason"],
      registers,
    });
    this.#requests = new Counter({
      name: "agent_upstream_requests_total",
      help: "Requests that were forwarded to the target.",
      registers,
    });
    this.#errors = new Counter({
      name: "agent_upstream_errors_total",
      help: "Requests that failed between agent and target.",
      registers,
    });
    this.#errorsByCode = new Counter({
      name: "agent_upstream_errors_by_code_total",
      help: "Requests that failed between agent and target, by the protocol's error code.",
      labelNames: ["code"],
      registers,
    });
    this.#configReloads = new Counter({
      name: "culvert_config_reloads_total",
      help: "Files that were read again while running, by what they hold and by result.",
      labelNames: ["source", "result"],
      registers,
    });
    this.#configReloadTime = new Gauge({
      name: "culvert_config_last_reload_success_timestamp_seconds",
      help: "When what is in use was read, in seconds since 1970, by source.",
      labelNames: ["source"],
      registers,
    });
    this.#certificates = new Gauge({
      name: "culvert_certificate_not_after_timestamp_seconds",
      help: "When a certificate in use expires, in seconds since 1970, by its option's name.",
      labelNames: ["name"],
      registers,
    });
    this.#credentialRefusals = new Counter({
      name: "culvert_agent_credential_refusals_total",
      help: "Answers of the target with status 401 to the agent's own credential.",
      registers,
    });
    this.#credentials = new Gauge({
      name: "culvert_agent_credential_not_after_timestamp_seconds",
      help: "When the agent's token expires, in seconds since 1970, by its option's name; absent " +
        "for a token that does not tell.",
      labelNames: ["name"],
      registers,
    });
    const ofTargets = { labelNames: ["target"] as const, registers };
    this.#targetRequests = new Counter({
      name: "culvert_agent_target_requests_total",
      help: "Requests that were forwarded, by the target's name.",
      ...ofTargets,
    });
    this.#targetErrors = new Counter({
      name: "culvert_agent_target_errors_total",
      help: "Requests and connections that failed between agent and target, by the target's name " +
        "and the protocol's error code.",
      labelNames: ["target", "code"],
      registers,
    });
    this.#targetRefusals = new Counter({
      name: "culvert_agent_target_credential_refusals_total",
      help: "Answers with status 401 to the agent's own credential, by the target's name.",
      ...ofTargets,
    });
    this.#tcpConnections = new Counter({
      name: "culvert_agent_tcp_connections_total",
      help: "TCP connections to targets that were made for streams, by the target's name.",
      ...ofTargets,
    });
    new Gauge({
      name: "culvert_agent_tcp_open_connections",
      help: "TCP connections of streams that are open, by the target's name.",
      ...ofTargets,
      collect() {
        this.reset();
        for (const [target, count] of figures().openTcp) this.set({ target }, count);
      },
    });
    this.#tcpBytes = new Counter({
      name: "culvert_agent_tcp_bytes_total",
      help: "Bytes of TCP streams that are over, by the target's name and by direction.",
      labelNames: ["target", "direction"],
      registers,
    });
    const gauge = (name: string, help: string, value: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    };
    gauge(
      "agent_connected",
      "1 if a session with the relay is up, else 0.",
      () => Number(figures().connections > 0),
    );
    gauge(
      "agent_connections",
      "Sessions with relays that are up and take new requests.",
      () => figures().connections,
    );
    gauge(
      "agent_open_streams",
      "Requests and upgraded connections that are open.",
      () => figures().openStreams,
    );
    gauge(
      "agent_tunnel_round_trip_seconds",
      "The last measured round trip to the relay.",
      () => figures().roundTripMs / 1000,
    );
    gauge(
      "agent_upstream_idle_connections",
      "Idle connections to targets.",
      () => figures().idleUpstreamConnections,
    );
    new Gauge({
      name: "culvert_build_info",
      help: "Always 1; the labels say which program this is.",
      labelNames: ["program", "version"],
      registers,
    }).set({ program: "agent", version }, 1);
  }

  /** The content type of {@link text}. */
  get contentType(): string {
    return this.#metrics.contentType;
  }

  /** Everything in Prometheus' text format. */
  async text(): Promise<string> {
    return await this.#metrics.metrics() + await processMetrics().metrics();
  }

  reconnecting(): void {
    this.#reconnects.inc();
  }

  disconnected(reason: SessionEndReason | "stopped"): void {
    this.#disconnects.inc({ reason });
  }

  /** A target is served from now on. */
  targetAdded(target: string): void {
    this.#targets.add(target);
    this.#targetRequests.inc({ target }, 0);
  }

  /**
   * A target is not served any more: its series go, so that their number stays bounded.
   *
   * @param next What is served under its name from now on.
   */
  targetLeft(config: TargetConfig, next: TargetConfig | undefined): void {
    if (!next?.credential) this.#credentials.remove({ name: credentialName(config) });
    for (const key of ["ca", "cert"] as const) {
      this.#certificates.remove({ name: certificateName(config.name, key) });
    }
    if (next) return;
    const target = config.name;
    this.#targets.delete(target);
    for (const metric of [this.#targetRequests, this.#targetRefusals, this.#tcpConnections]) {
      metric.remove({ target });
    }
    for (const code of streamErrorCodes) this.#targetErrors.remove({ target, code });
    for (const direction of directions) this.#tcpBytes.remove({ target, direction });
  }

  forwarded(target: string): void {
    this.#requests.inc();
    if (this.#targets.has(target)) this.#targetRequests.inc({ target });
  }

  failed(target: string, code: string): void {
    this.#errors.inc();
    this.#errorsByCode.inc({ code });
    if (this.#targets.has(target)) this.#targetErrors.inc({ target, code });
  }

  /** A stream of TCP has its target. */
  tcpConnected(target: string): void {
    if (this.#targets.has(target)) this.#tcpConnections.inc({ target });
  }

  /** A stream of TCP is over that had its target. */
  tcpClosed(target: string, toTarget: number, fromTarget: number): void {
    if (!this.#targets.has(target)) return;
    this.#tcpBytes.inc({ target, direction: "to_target" }, toTarget);
    this.#tcpBytes.inc({ target, direction: "from_target" }, fromTarget);
  }

  /** What a source held at start is in use. */
  configLoaded(source: AgentConfigSource): void {
    this.#configReloads.inc({ source, result: "applied" }, 0);
    this.#configReloads.inc({ source, result: "refused" }, 0);
    this.#configReloadTime.setToCurrentTime({ source });
  }

  /** A source changed while running: what it holds now is in use, or what it held before. */
  configReloaded(source: AgentConfigSource, result: "applied" | "refused"): void {
    this.#configReloads.inc({ source, result });
    if (result === "applied") this.#configReloadTime.setToCurrentTime({ source });
  }

  /** When the certificates of an option's file expire, in seconds since 1970. */
  certificateExpires(name: string, seconds: number): void {
    this.#certificates.set({ name }, seconds);
  }

  /** The target answered 401 to the agent's own credential. */
  credentialRefused(target: string): void {
    this.#credentialRefusals.inc();
    if (this.#targets.has(target)) this.#targetRefusals.inc({ target });
  }

  /** When an option's token expires, in seconds since 1970; undefined if it does not tell. */
  credentialExpires(name: string, seconds: number | undefined): void {
    if (seconds === undefined) this.#credentials.remove({ name });
    else this.#credentials.set({ name }, seconds);
  }
}
