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

/** For an agent that was refused: it keeps trying, but slowly, as only a person can change it. */
export function refusedBackoffMs(maxMs: number, random: () => number): number {
  return maxMs * (0.5 + random() / 2);
}
