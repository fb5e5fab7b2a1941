/** Limits on what callers may ask. */

/** Bounds of one scope, the relay or a cluster; 0 is no bound. */
export interface LimitValues {
  /** Decimals allowed. */
  readonly requestsPerSecond: number;
  /** Requests open at once, upgraded connections among them. */
  readonly openRequests: number;
  /** Both directions together. */
  readonly bytesPerSecond: number;
}
