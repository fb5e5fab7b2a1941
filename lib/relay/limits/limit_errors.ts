/** What callers are told when a scope's limit is met. */
import type { RelayError } from "../relay_error.ts";

/** What limits count in: everything at a relay, or what is for one cluster or one service. */
export const limitScopes = ["relay", "cluster", "service"] as const;

/** @see {@link limitScopes} */
export type LimitScope = typeof limitScopes[number];

/** The errors of one scope. */
export interface LimitErrors {
  /** Too many requests in a second. */
  readonly rate: RelayError;
  /** As many requests are open as may be. */
  readonly requests: RelayError;
  /** The bandwidth is used up for the next seconds. */
  readonly bandwidth: RelayError;
}

/** What came too fast: it passes with time. */
const tooMany = { status: 429, reason: "Too Many Requests", retryAfterSeconds: 1 };
/** What is too much at once. */
const full = { status: 503, reason: "Service Unavailable", retryAfterSeconds: 1 };

/** The errors of each scope. */
export const limitErrors: Readonly<Record<LimitScope, LimitErrors>> = {
  relay: errorsOf("relay"),
  cluster: errorsOf("cluster"),
  service: errorsOf("service"),
};

function errorsOf(scope: LimitScope): LimitErrors {
  // The options over all clusters have no scope in their names.
  const named = (limit: string, what: string) => ({
    code: scope === "relay" ? limit.replaceAll("-", "_") : `${scope}_${limit.replaceAll("-", "_")}`,
    limit: scope === "relay" ? limit : `${scope}-${limit}`,
    message: `the ${scope}'s limit of ${what} is reached`,
  });
  return {
    rate: { ...tooMany, ...named("rate-limit", "requests per second") },
    requests: { ...full, ...named("max-requests", "open requests") },
    bandwidth: { ...tooMany, ...named("bandwidth", "bytes per second") },
  };
}
