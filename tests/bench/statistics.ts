/** The few statistics that the benches need. */

/** The middle value, or the mean of the two in the middle; throws on no values at all. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (upper === undefined || lower === undefined) throw new RangeError("No values for a median");
  return (lower + upper) / 2;
}

/** The value that `share` (0 to 1) of the sorted values do not exceed (nearest rank). */
export function percentile(sorted: Float64Array, share: number): number {
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) throw new RangeError("No values for a percentile");
  return value;
}

/** A point of a series. */
export interface Sample {
  readonly x: number;
  readonly y: number;
}

/** Slope of the straight line with the least squared distance; 0 for fewer than two points. */
export function leastSquaresSlope(samples: readonly Sample[]): number {
  const meanX = samples.reduce((sum, { x }) => sum + x, 0) / samples.length;
  const meanY = samples.reduce((sum, { y }) => sum + y, 0) / samples.length;
  let covariance = 0;
  let variance = 0;
  for (const { x, y } of samples) {
    covariance += (x - meanX) * (y - meanY);
    variance += (x - meanX) ** 2;
  }
  return variance > 0 ? covariance / variance : 0;
}
