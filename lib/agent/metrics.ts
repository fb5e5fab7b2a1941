/** The agent's metrics: argocd-cluster-proxy's names, and what it doesn't have. */
import { Counter, Gauge, Registry as Metrics } from "prom-client";
import { processMetrics } from "../process_metrics.ts";
import type { SessionEndReason } from "../protocol/session_end.ts";

/** What gauges ask the agent when Prometheus asks them. */
export interface AgentFigures {
  /** Sessions that take new requests. */
  readonly connections: number;
  readonly openStreams: number;
  readonly roundTripMs: number;
  readonly idleUpstreamConnections: number;
}

/** What is read again when its files change: TLS with the relay, with the proxy, with the target. */
export type AgentConfigSource = "relay_tls" | "proxy_tls" | "target_tls";

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
      "Idle connections to the target.",
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

  forwarded(): void {
    this.#requests.inc();
  }

  failed(code: string): void {
    this.#errors.inc();
    this.#errorsByCode.inc({ code });
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
  credentialRefused(): void {
    this.#credentialRefusals.inc();
  }

  /** When an option's token expires, in seconds since 1970; undefined if it does not tell. */
  credentialExpires(name: string, seconds: number | undefined): void {
    if (seconds === undefined) this.#credentials.remove({ name });
    else this.#credentials.set({ name }, seconds);
  }
}
