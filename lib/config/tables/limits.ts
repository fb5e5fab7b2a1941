/** Options about limits, as every relay has them, wherever it runs. */
import { duration, integer, number } from "../options/kinds.ts";
import type { Option, OptionTable } from "../options/option_table.ts";

/** What a relay and each of its clusters may be asked for at once, or in a second. */
export const scopeLimitTable = {
  rateLimitPerSecond: {
    name: "rate-limit",
    env: "RATE_LIMIT",
    group: "Limits",
    kind: number({ min: 0 }),
    default: "0",
    description: "Requests per second over all clusters, decimals allowed; 0 is no limit",
    see: "configuration.md#limits",
    chart: { name: "rateLimit" },
    isEdgeSetting: true,
  },
  clusterRateLimitPerSecond: {
    name: "cluster-rate-limit",
    env: "CLUSTER_RATE_LIMIT",
    group: "Limits",
    kind: number({ min: 0 }),
    default: "0",
    description: "Requests per second for each cluster, decimals allowed; 0 is no limit",
    chart: { name: "clusterRateLimit" },
    isEdgeSetting: true,
  },
  maxRequests: {
    name: "max-requests",
    env: "MAX_REQUESTS",
    group: "Limits",
    kind: integer({ min: 0 }),
    default: "0",
    description: "Open requests over all clusters, including upgraded connections; 0 is no limit",
    chart: { name: "maxRequests" },
    isEdgeSetting: true,
  },
  clusterMaxRequests: {
    name: "cluster-max-requests",
    env: "CLUSTER_MAX_REQUESTS",
    group: "Limits",
    kind: integer({ min: 0 }),
    default: "0",
    description: "Open requests for each cluster; 0 is no limit",
    chart: { name: "clusterMaxRequests" },
    isEdgeSetting: true,
  },
  bandwidth: {
    name: "bandwidth",
    env: "BANDWIDTH",
    group: "Limits",
    kind: integer({ min: 0 }),
    placeholder: "BYTES",
    default: "0",
    description: "Bytes per second over all clusters, both directions together; further " +
      "bytes wait; 0 is no limit",
    chart: { name: "bandwidth" },
    isEdgeSetting: true,
  },
  clusterBandwidth: {
    name: "cluster-bandwidth",
    env: "CLUSTER_BANDWIDTH",
    group: "Limits",
    kind: integer({ min: 0 }),
    placeholder: "BYTES",
    default: "0",
    description: "Bytes per second for each cluster, both directions together; 0 is no limit",
    chart: { name: "clusterBandwidth" },
    isEdgeSetting: true,
  },
} as const satisfies OptionTable;

/** The limit on one session. */
export const maxStreamsOption = {
  name: "max-streams",
  env: "MAX_STREAMS",
  group: "Limits",
  kind: integer({ min: 1, max: 1_000_000 }),
  default: "1024",
  description: "Open requests in one agent's session",
  chart: { name: "maxStreams" },
  isEdgeSetting: true,
} as const satisfies Option<number>;

/** The limit on a request's body. */
export const maxBodyBytesOption = {
  name: "max-body-bytes",
  env: "MAX_BODY_BYTES",
  group: "Limits",
  kind: integer({ min: 0 }),
  placeholder: "BYTES",
  default: "0",
  description: "Largest body of a request; 0 is no limit",
  chart: { name: "maxBodyBytes" },
  isEdgeSetting: true,
} as const satisfies Option<number>;

/** How long a target may take to answer. */
export const responseTimeoutOption = {
  name: "response-timeout",
  env: "RESPONSE_TIMEOUT",
  group: "Timeouts",
  kind: duration({ min: "0" }),
  default: "5m",
  description: "Time from the end of a request to the head of its response; 0 is no limit",
  chart: { name: "responseTimeout" },
  isEdgeSetting: true,
} as const satisfies Option<number>;

/** How long a transfer may stand still. */
export const idleTimeoutOption = {
  name: "idle-timeout",
  env: "IDLE_TIMEOUT",
  group: "Timeouts",
  kind: duration({ min: "0" }),
  default: "5m",
  description:
    "Longest time without progress in a request's body, in a response of known length, or in " +
    "writing to a receiver; watches, followed logs and upgraded connections may be silent; 0 is no " +
    "limit",
  chart: { name: "idleTimeout" },
  isEdgeSetting: true,
} as const satisfies Option<number>;
