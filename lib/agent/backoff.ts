/** How long to wait between attempts to reach the relay. */

const firstDelayMs = 500;

/**
 * Full jitter: anything between nothing and a bound that doubles with each attempt, so that many
 * agents of a relay that returns do not come back at once.
 *
 * @param attempt 0 for the first wait.
 * @param random From 0 up to, not including, 1.
 * @returns milliseconds, at most `maxMs`.
 */
export function backoffMs(attempt: number, maxMs: number, random: () => number): number {
  const bound = Math.min(maxMs, firstDelayMs * 2 ** Math.min(attempt, 30));
  return random() * bound;
}

const firstRefusedBoundMs = 2_000;
/** Somebody is probably at work on the agent or the relay for so long after the first refusal. */
const freshRefusalMs = 5 * 60_000;
/** The longest wait in that time. */
const freshRefusalBoundMs = 15_000;

/** How an agent was refused so far. */
export interface Refusals {
  /** Refusals in a row before this one. */
  readonly count: number;
  /** Milliseconds since the first of them. */
  readonly sinceMs: number;
}

/**
 * For an agent that the relay refuses. Only a person can change that, and a relay must not spend its
 * time on refusals; but who has just corrected a token should see the agent connect.
 */
export function refusedBackoffMs(
  { count, sinceMs }: Refusals,
  maxMs: number,
  random: () => number,
): number {
  const limit = sinceMs < freshRefusalMs ? Math.min(maxMs, freshRefusalBoundMs) : maxMs;
  const bound = Math.min(limit, firstRefusedBoundMs * 2 ** Math.min(count, 30));
  return bound * (0.5 + random() / 2);
}

/** A wait as a log line says it: "in 8 s". */
export function inWords(ms: number): string {
  if (ms < 1_000) return "in less than 1 s";
  const seconds = Math.round(ms / 1_000);
  return seconds < 120 ? `in ${seconds} s` : `in ${Math.round(seconds / 60)} min`;
}
