/** Instruments that Prometheus reads, those of the process among them. */
import { Counter, Gauge, Registry } from "prom-client";
import type { Description, Instruments, Sample } from "../../instruments.ts";
import { histogramText, type Latency } from "../../latency.ts";
import { processMetrics } from "./process_metrics.ts";

/** A registry of prom-client's. Only the programs import it: prom-client needs Node's modules. */
export class PrometheusInstruments implements Instruments {
  readonly #registry = new Registry();
  readonly #histograms: (() => string)[] = [];

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    const own = await this.#registry.metrics();
    const histograms = this.#histograms.map((text) => text());
    return own + histograms.join("") + await processMetrics().metrics();
  }

  counter<L extends string = never>(name: string, help: string, ...labels: L[]): Counter<L> {
    return new Counter({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  gauge<L extends string = never>(name: string, help: string, ...labels: L[]): Gauge<L> {
    return new Gauge({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  observeCounter<L extends string = never>(
    description: Description<L>,
    read: (sample: Sample<L>) => void,
  ): void {
    new Counter(this.#observed(description, read));
  }

  observeGauge<L extends string = never>(
    description: Description<L>,
    read: (sample: Sample<L>) => void,
  ): void {
    new Gauge(this.#observed(description, read));
  }

  observeHistogram(
    name: string,
    help: string,
    label: string,
    read: () => Iterable<readonly [value: string, latency: Latency]>,
  ): void {
    this.#histograms.push(() => histogramText({ name, help, label }, read()));
  }

  #observed<L extends string>(
    { name, help, labels = [] }: Description<L>,
    read: (sample: Sample<L>) => void,
  ) {
    return {
      ...{ name, help, labelNames: labels, registers: [this.#registry] },
      collect(this: Counter<L> | Gauge<L>) {
        this.reset();
        read((value, labels) => labels ? this.inc(labels, value) : this.inc(value));
      },
    };
  }
}
