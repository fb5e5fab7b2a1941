/** What callers may ask of a relay, put together from its options. */
import type { LimitValues } from "../domain/limits.ts";
import type { OptionValues } from "./options/option_table.ts";
import type { scopeLimitTable } from "./tables/limits.ts";

/** Limits by what they hold for; 0 is no limit. */
export interface ScopeLimits {
  /** The limits of all clusters together. */
  readonly limits: LimitValues;
  /** The limits of each cluster that has no `limits` of its own. */
  readonly clusterLimits: LimitValues;
}

/** Puts the values of the options together. */
export function scopeLimitsOf(values: OptionValues<typeof scopeLimitTable>): ScopeLimits {
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
