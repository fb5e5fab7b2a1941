/** Counters, gauges and histograms, whoever exports them. */
import type { Latency } from "./latency.ts";

/** Values of labels. */
type Labels<L extends string> = Partial<Record<L, string | number>>;

/** Only grows. */
export interface Counter<L extends string = never> {
  inc(labels: Labels<L>, by?: number): void;
  inc(by?: number): void;
  /** Ends a series. */
  remove(labels: Labels<L>): void;
}

/** A value that goes up and down. */
export interface Gauge<L extends string = never> {
  set(labels: Labels<L>, value: number): void;
  set(value: number): void;
  setToCurrentTime(labels?: Labels<L>): void;
  /** Ends a series. */
  remove(labels: Labels<L>): void;
}

/** What an instrument is called, and how its series are told apart. */
export interface Description<L extends string = never> {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly L[];
}

/** Adds a value to a series that is being read; several values of one series add up. */
export type Sample<L extends string = never> = (value: number, labels?: Labels<L>) => void;

/** Makes instruments, and shows their values. */
export interface Instruments {
  counter<L extends string = never>(name: string, help: string, ...labels: L[]): Counter<L>;
  gauge<L extends string = never>(name: string, help: string, ...labels: L[]): Gauge<L>;
  /** A counter whose values are kept elsewhere, and read when somebody asks. */
  observeCounter<L extends string = never>(
    description: Description<L>,
    read: (sample: Sample<L>) => void,
  ): void;
  /** The same for a gauge. */
  observeGauge<L extends string = never>(
    description: Description<L>,
    read: (sample: Sample<L>) => void,
  ): void;
  /** A histogram of seconds for each value of one label, read when somebody asks. */
  observeHistogram(
    name: string,
    help: string,
    label: string,
    read: () => Iterable<readonly [value: string, latency: Latency]>,
  ): void;
  /** The content type of {@link text}. */
  readonly contentType: string;
  /** Everything, in Prometheus' text format. */
  text(): Promise<string>;
}

const nothing = { inc() {}, set() {}, setToCurrentTime() {}, remove() {} };

/** Keeps no values: for homes where nobody could read one program's numbers. */
export const noInstruments: Instruments = {
  counter: () => nothing,
  gauge: () => nothing,
  observeCounter() {},
  observeGauge() {},
  observeHistogram() {},
  contentType: "text/plain; version=0.0.4; charset=utf-8",
  text: () => Promise.resolve(""),
};
