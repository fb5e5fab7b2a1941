/** How long things take in a shared directory. */

/** All in milliseconds. */
export interface DirectoryTiming {
  /** The time between two signs of life. */
  heartbeatMs: number;
  /** How long after its last sign of life a relay counts as gone: three heartbeats. */
  aliveMs: number;
  /** How long the store may take to answer. */
  replyMs: number;
  /** The time within which each lease is written again. */
  renewalMs: number;
  /** How long after its last write a lease is dropped: three renewals. */
  leaseMs: number;
  /** How long a cluster whose lease was taken back counts as on its way to another relay. */
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
