/** A picture of relays for tests of the status page: one of everything. */
import type { AgentStatus, ClusterStatus, Status } from "../../../lib/domain/status.ts";
import type { StatusModel } from "../../../lib/relay/pages/status/model.ts";

/** When the picture was taken. */
export const nowMs = Date.UTC(2026, 10, 30, 12);

const relay = "7f3a1b2c-1111-4222-8333-444455556666";
const minuteMs = 60_000;

/** An agent's session. */
export function agentOf(cluster: string, more: Partial<AgentStatus> = {}): AgentStatus {
  return {
    id: `7f3a1b2c-${cluster}`,
    cluster,
    relay,
    instance: "1eefa1b2c3d4",
    slot: 0,
    address: "203.0.113.1",
    software: "culvert-agent/0.1.0",
    protocolVersion: 2,
    tokenName: "default",
    sinceMs: nowMs - 90 * minuteMs,
    roundTripMs: 3.2,
    openStreams: 3,
    bytesIn: 170_000_000,
    bytesOut: 31_000_000,
    windowStalls: 2,
    isDraining: false,
    isSuspect: false,
    targets: [{ name: "grafana", kind: "http" }],
    claims: [],
    ...more,
  };
}

/** A cluster. */
export function clusterOf(
  id: string,
  agents: readonly AgentStatus[] = [agentOf(id)],
  more: Partial<ClusterStatus> = {},
): ClusterStatus {
  return {
    id,
    source: "configuration",
    isAccepted: true,
    impersonation: "refuse",
    hostnames: [],
    agents,
    ...more,
  };
}

/** The whole picture. */
export function pictureOf(more: Partial<Status> = {}): Status {
  return {
    atMs: nowMs,
    relays: [{
      id: relay,
      version: "0.1.0",
      startedMs: nowMs - 12 * 24 * 60 * minuteMs,
      isStopping: false,
      agents: 2,
      openStreams: 1,
    }],
    clusters: [
      clusterOf("dev"),
      clusterOf("staging", [], {
        lastDisconnect: {
          atMs: nowMs - 180 * minuteMs,
          code: 1001,
          reason: "The agent is shutting down",
          address: "198.51.100.4",
        },
      }),
    ],
    services: [
      {
        name: "grafana",
        source: "configuration",
        hostnames: ["grafana.example.com"],
        cluster: "dev",
        target: "grafana",
        kind: "http",
        policy: "staff",
        provider: "corp",
        agents: 1,
      },
      {
        name: "www",
        source: "api",
        hostnames: ["www.example.com"],
        cluster: "staging",
        target: "web",
        kind: "http",
        policy: "public",
        agents: 0,
      },
    ],
    streams: [{
      id: "7f3a1b2c-91",
      relay,
      requestId: "6f1c2c0e-7a0b-4d5e-9c39-1f7f3a1b2c3d",
      cluster: "dev",
      service: "grafana",
      hostname: "grafana.example.com",
      caller: "ann@example.com",
      callerKind: "session",
      address: "192.0.2.7",
      method: "GET",
      path: "/api/live/ws",
      upgrade: "websocket",
      sinceMs: nowMs - 31 * minuteMs,
      bytesIn: 51_200,
      bytesOut: 8_600_000,
    }],
    certificates: [{ relay, option: "tls-cert", notAfterMs: nowMs + 9 * 24 * 60 * minuteMs }],
    reloads: [{
      relay,
      source: "services",
      result: "refused",
      atMs: nowMs - 11 * minuteMs,
      reason: 'there is no policy "stuff"',
    }],
    limitHits: [{
      relay,
      limit: "max-requests-per-second",
      count: 1_234,
      lastMs: nowMs - 6 * minuteMs,
    }],
    requests: [{
      relay,
      atMs: nowMs - 4_000,
      requestId: "6f1c2c0e",
      cluster: "dev",
      service: "grafana",
      caller: "ann@example.com",
      method: "POST",
      path: "/api/ds/query",
      status: 200,
      ms: 41,
      bytes: 18_211,
    }],
    ...more,
  };
}

/** What the page is made of. */
export function modelOf(
  status: Status = pictureOf(),
  query: Partial<StatusModel["query"]> = {},
  more: Partial<StatusModel> = {},
): StatusModel {
  return {
    status,
    people: {
      isComplete: true,
      sessions: [{
        id: "q7Gk2mV9Jw1xQ0aZt3LhYpRb",
        user: "ann@example.com",
        provider: "corp",
        hosts: ["grafana.example.com"],
        sinceMs: nowMs - 240 * minuteMs,
        lastUsedMs: nowMs - 4_000,
        expiresMs: nowMs + 480 * minuteMs,
      }],
    },
    history: Array.from({ length: 60 }, (_, index) => ({
      atMs: nowMs - (60 - index) * 10_000,
      agents: index < 20 ? 1 : 2,
      openStreams: 10 + index % 7,
      bytesPerSecond: 1e6 * (1 + index % 5),
    })),
    query: { section: undefined, query: "", page: 1, sort: "", ...query },
    isWhole: true,
    mayAct: true,
    ...more,
  };
}
