/** What a measurement is, and what it is given to work with. */
import type { BulkTool } from "./bulk_transfer.ts";
import type { RequestGenerator } from "./request_load.ts";
import type { Route } from "./route.ts";
import type { BenchTarget } from "./target.ts";

/** How long and how much: the difference between a full run and a quick one. */
export interface Plan {
  /** Load that is sent before a measurement counts. */
  readonly warmUpSeconds: number;
  /** How long requests are sent for one row. */
  readonly loadSeconds: number;
  /** Size of one bulk transfer. */
  readonly bulkBytes: number;
  /** Open streams that nobody reads. */
  readonly stalledStreams: number;
}

/** What every measurement of a run shares. */
export interface Bench {
  readonly plan: Plan;
  readonly target: BenchTarget;
  readonly requests: RequestGenerator;
  readonly bulk: BulkTool;
  readonly signal: AbortSignal;
}

/** One number of a measurement: a line of the table. */
export interface Metric {
  readonly key: string;
  readonly label: string;
  readonly unit: string;
}

/** The numbers of one measurement on one way, by metric key. A number that does not apply is absent. */
export type Figures = Readonly<Record<string, number>>;

/** One block of the table: an experiment that is done on each way in turn. */
export interface Measurement {
  /** What `--only` matches, and what goals refer to. */
  readonly id: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  /** Whether it needs processes that have served nothing yet: such a one is taken in one round alone. */
  readonly needsFreshRoute: boolean;
  run(route: Route, bench: Bench): Promise<Figures>;
}

/** Bytes in a megabyte, as this bench and its goals count. */
export const MEGABYTE = 1e6;

/** What decides on a plan. */
export interface PlanOptions {
  readonly seconds: number;
  readonly bulkMegabytes: number;
  readonly stalledStreams: number;
}

/** The plan of a run. */
export function makePlan({ seconds, bulkMegabytes, stalledStreams }: PlanOptions): Plan {
  return {
    warmUpSeconds: Math.max(1, Math.round(seconds / 4)),
    loadSeconds: seconds,
    bulkBytes: bulkMegabytes * MEGABYTE,
    stalledStreams,
  };
}
