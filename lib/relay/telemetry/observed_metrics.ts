/** Metrics of what is counted anyway: it is read when Prometheus asks. */
import type { Instruments } from "../../instruments.ts";
import type { SessionStats } from "../../protocol/session_options.ts";
import type { Registry } from "../agents/registry.ts";
import type { StatsByName } from "./stats_by_name.ts";

/** Requests of clusters. */
export function observeRequests(instruments: Instruments, clusters: StatsByName): void {
  instruments.observeCounter({
    name: "proxy_requests_total",
    help: "Requests that were proxied, by cluster, method and status code.",
    labels: ["cluster", "method", "code"],
  }, (sample) => {
    for (const [cluster, { requests }] of clusters.entries()) {
      for (const [labels, count] of byMethodAndCode(requests)) {
        sample(count, { cluster, ...labels });
      }
    }
  });
  instruments.observeCounter({
    name: "proxy_aborted_requests_total",
    help: "Requests whose answer was not completed: the caller went away or the target broke off.",
    labels: ["cluster"],
  }, (sample) => {
    for (const [cluster, { aborted }] of clusters.entries()) {
      if (aborted > 0) sample(aborted, { cluster });
    }
  });
  instruments.observeGauge({
    name: "tunnel_active_connections",
    help: "Requests and upgraded connections that are open, by cluster.",
    labels: ["cluster"],
  }, (sample) => {
    for (const [cluster, { open }] of clusters.entries()) sample(open, { cluster });
  });
  instruments.observeHistogram(
    "proxy_request_duration_seconds",
    "Seconds from a request's head to the end of its answer.",
    "cluster",
    () => clusters.entries().map(([id, { duration }]) => [id, duration]),
  );
  instruments.observeHistogram(
    "culvert_time_to_first_byte_seconds",
    "Seconds from a request's head to the head of its answer.",
    "cluster",
    () => clusters.entries().map(([id, { firstByte }]) => [id, firstByte]),
  );
}

/** Requests of services; they count among their clusters' too. */
export function observeServices(instruments: Instruments, services: StatsByName): void {
  instruments.observeCounter({
    name: "culvert_service_requests_total",
    help: "Requests for services, by service, method and status code.",
    labels: ["service", "method", "code"],
  }, (sample) => {
    for (const [service, { requests }] of services.entries()) {
      for (const [labels, count] of byMethodAndCode(requests)) {
        sample(count, { service, ...labels });
      }
    }
  });
  instruments.observeGauge({
    name: "culvert_service_open_requests",
    help: "Requests and connections of services that are open, by service.",
    labels: ["service"],
  }, (sample) => {
    for (const [service, { open }] of services.entries()) sample(open, { service });
  });
}

/** The sessions of agents. */
export function observeSessions(instruments: Instruments, registry: Registry): void {
  instruments.observeGauge({
    name: "agents_connected",
    help: "Agents that are connected.",
  }, (sample) => sample(registry.size));
  instruments.observeGauge({
    name: "tunnel_sessions",
    help: "Agents' sessions, by protocol version.",
    labels: ["version"],
  }, (sample) => {
    for (const { session } of registry.all()) sample(1, { version: session.version });
  });
  instruments.observeGauge({
    name: "culvert_open_streams",
    help: "Streams of the tunnel that are open, in all sessions of each cluster.",
    labels: ["cluster"],
  }, (sample) => {
    for (const { session, cluster } of registry.all()) {
      sample(session.openStreams, { cluster: cluster.id });
    }
  });
  instruments.observeGauge({
    name: "tunnel_round_trip_seconds",
    help:
      "The last measured round trip to each cluster's agents; the longest where there are several.",
    labels: ["cluster"],
  }, (sample) => {
    const longest = new Map<string, number>();
    for (const { session, cluster: { id } } of registry.all()) {
      longest.set(id, Math.max(longest.get(id) ?? 0, session.roundTripMs / 1000));
    }
    for (const [cluster, seconds] of longest) sample(seconds, { cluster });
  });
}

/**
 * What sessions count anyway.
 *
 * @param ended The counts of all sessions that have ended.
 */
export function observeTraffic(
  instruments: Instruments,
  registry: Registry,
  ended: SessionStats,
): void {
  instruments.observeCounter({
    name: "tunnel_bytes_total",
    help: "Bytes of all sessions' messages, by direction as the relay sees it.",
    labels: ["direction"],
  }, (sample) => {
    sample(ended.bytesIn, { direction: "in" });
    sample(ended.bytesOut, { direction: "out" });
    for (const { session: { stats } } of registry.all()) {
      sample(stats.bytesIn, { direction: "in" });
      sample(stats.bytesOut, { direction: "out" });
    }
  });
  instruments.observeCounter({
    name: "tunnel_window_stalls_total",
    help: "Times that a stream had bytes to send and no credit.",
  }, (sample) => {
    sample(ended.windowStalls);
    for (const { session: { stats } } of registry.all()) sample(stats.windowStalls);
  });
}

function byMethodAndCode(
  requests: ReadonlyMap<string, number>,
): [labels: { method: string; code: string }, count: number][] {
  return [...requests].map(([key, count]) => {
    const [method = "", code = ""] = key.split(" ");
    return [{ method, code }, count];
  });
}
