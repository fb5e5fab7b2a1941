/** Time as callers' credentials need it. */

/** Two clocks: one that says when it is, and one that no one can set. */
export interface Clock {
  /** Milliseconds since 1970, for what a credential says about its time. */
  nowMs(): number;
  /** Milliseconds that only ever grow, for how long something is kept. */
  monotonicMs(): number;
}

/** The machine's. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
