/** Options about limits, as every relay has them, wherever it runs. */
import type { LimitValues } from "../domain/limits.ts";
import { duration, integer, number } from "./options/kinds.ts";
import type { Option, OptionTable, OptionValues } from "./options/option_table.ts";

/** What a relay and each of its clusters may be asked for at once, or in a second. */
export const limitOptions = {
  rateLimitPerSecond: {
    name: "rate-limit",
    env: "RATE_LIMIT",
    group: "Limits",
    kind: number({ min: 0 }),
    default: "0",
    description: "Requests per second over all clusters; 0 is no limit",
  },
  clusterRateLimitPerSecond: {
    name: "cluster-rate-limit",
    env: "CLUSTER_RATE_LIMIT",
    group: "Limits",
    kind: number({ min: 0 }),
    default: "0",
    description: "Requests per second for each cluster; 0 is no limit",
  },
  maxRequests: {
    name: "max-requests",
    env: "MAX_REQUESTS",
    group: "Limits",
    kind: integer({ min: 0 }),
    default: "0",
    description: "Requests open at once over all clusters, upgraded ones among them; 0 is no limit",
  },
  clusterMaxRequests: {
    name: "cluster-max-requests",
    env: "CLUSTER_MAX_REQUESTS",
    group: "Limits",
    kind: integer({ min: 0 }),
    default: "0",
    description: "Requests open at once for each cluster; 0 is no limit",
  },
  bandwidth: {
    name: "bandwidth",
    env: "BANDWIDTH",
    group: "Limits",
    kind: integer({ min: 0 }),
    placeholder: "BYTES",
    default: "0",
    description: "Bytes per second over all clusters, both directions together; what is over it " +
      "waits; 0 is no limit",
  },
  clusterBandwidth: {
    name: "cluster-bandwidth",
    env: "CLUSTER_BANDWIDTH",
    group: "Limits",
    kind: integer({ min: 0 }),
    placeholder: "BYTES",
    default: "0",
    description: "The same for each cluster; 0 is no limit",
  },
  maxStreams: {
    name: "max-streams",
    env: "MAX_STREAMS",
    group: "Limits",
    kind: integer({ min: 1, max: 1_000_000 }),
    default: "1024",
    description: "Requests open at once in one agent's session",
  },
} as const satisfies OptionTable;

/** What the values of {@link limitOptions} allow: a relay, and each cluster without limits of its own. */
export function limitsOf(values: OptionValues<typeof limitOptions>): {
  readonly limits: LimitValues;
  readonly clusterLimits: LimitValues;
} {
  return {
    limits: {
      requestsPerSecond: values.rateLimitPerSecond,
      openRequests: values.maxRequests,
      bytesPerSecond: values.bandwidth,
    },
    clusterLimits: {
      requestsPerSecond: values.clusterRateLimitPerSecond,
      openRequests: values.clusterMaxRequests,
      bytesPerSecond: values.clusterBandwidth,
    },
  };
}

/** The limit on a request's body. */
export const maxBodyBytesOption = {
  name: "max-body-bytes",
  env: "MAX_BODY_BYTES",
  group: "Limits",
  kind: integer({ min: 0 }),
  placeholder: "BYTES",
  default: "0",
  description: "Largest body of a request; 0 is no limit",
} as const satisfies Option<number>;

/** How long a target may think. */
export const responseTimeoutOption = {
  name: "response-timeout",
  env: "RESPONSE_TIMEOUT",
  group: "Timeouts",
  kind: duration({ min: "0" }),
  default: "5m",
  description: "Time from a request's end until the head of its response; 0 is no limit",
} as const satisfies Option<number>;

/** How long a transfer may stand still. */
export const idleTimeoutOption = {
  name: "idle-timeout",
  env: "IDLE_TIMEOUT",
  group: "Timeouts",
  kind: duration({ min: "0" }),
  default: "5m",
  description:
    "Time that a request's body, an answer of known length, or bytes that nobody takes, " +
    "may stand still; watches, followed logs and upgraded connections may be silent; 0 is no limit",
} as const satisfies Option<number>;
