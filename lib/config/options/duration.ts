/** Durations as Go writes them: `300ms`, `60s`, `1m30s`, `1.5h`. */

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "\u00b5s": 1e-3, // micro sign
  "\u03bcs": 1e-3, // Greek small letter mu
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

const PART = /(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/y;

/**
 * Returns the milliseconds of a Go duration, or undefined when `text` is none. A bare `0` needs no
 * unit; a negative duration is refused, because no option has a use for one.
 *
 * The result is whole: timers count in milliseconds. What is more than nothing stays at least 1, so
 * that it never turns into the 0 that means "none" to some options.
 */
export function parseDurationMs(text: string): number | undefined {
  const unsigned = text.replace(/^\+/, "");
  if (unsigned === "0") return 0;
  if (unsigned === "") return undefined;
  let totalMs = 0;
  PART.lastIndex = 0;
  while (PART.lastIndex < unsigned.length) {
    const match = PART.exec(unsigned);
    if (match === null) return undefined;
    const [, amount = "", unit = ""] = match;
    totalMs += Number(amount) * (UNIT_MS[unit] ?? NaN);
  }
  return totalMs > 0 ? Math.max(1, Math.round(totalMs)) : 0;
}
