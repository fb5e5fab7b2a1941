/** How long things take in a shared directory. */

/** All in milliseconds. */
export interface DirectoryTiming {
  /** Between two signs of life. */
  heartbeatMs: number;
  /** After which a relay without a sign of life counts as gone: three heartbeats. */
  aliveMs: number;
  /** For the store to answer. */
  replyMs: number;
  /** Within which each lease is written again. */
  renewalMs: number;
  /** After which a lease that nobody writes again is dropped: three renewals. */
  leaseMs: number;
  /** For which a cluster whose lease was taken back counts as on its way to another relay. */
  movingMs: number;
}

/** The timing unless told otherwise. */
export const defaultTiming: DirectoryTiming = {
  heartbeatMs: 5_000,
  aliveMs: 15_000,
  replyMs: 1_000,
  renewalMs: 20 * 60_000,
  leaseMs: 60 * 60_000,
  movingMs: 5_000,
};
