/** What a run measured: figures of each round, by measurement and way. */
import type { Figures, Measurement } from "./measurement.ts";
import type { RouteName } from "./route.ts";
import { median } from "./statistics.ts";

/** The rounds of one measurement on one way. */
export interface Cell {
  /** Figures of the rounds that succeeded. */
  readonly rounds: readonly Figures[];
  /** Why the others failed. One failure fails the cell: a median would hide it. */
  readonly failures: readonly string[];
}

/** Everything that a run measured so far. */
export class Results {
  readonly #cells = new Map<string, { rounds: Figures[]; failures: string[] }>();

  /** Keeps the figures of one round. */
  addFigures(measurement: Measurement, route: RouteName, figures: Figures): void {
    this.#cell(measurement.id, route).rounds.push(figures);
  }

  /** Keeps the reason why a round failed. */
  addFailure(measurement: Measurement, route: RouteName, reason: string): void {
    this.#cell(measurement.id, route).failures.push(reason);
  }

  /** The rounds of one measurement on one way; empty when it was not taken. */
  cell(measurementId: string, route: RouteName): Cell {
    return this.#cells.get(key(measurementId, route)) ?? { rounds: [], failures: [] };
  }

  /** The median of one number over the rounds; undefined when it failed or was not taken. */
  value(measurementId: string, route: RouteName, metricKey: string): number | undefined {
    const { rounds, failures } = this.cell(measurementId, route);
    if (failures.length > 0) return undefined;
    const values = rounds.map((figures) => figures[metricKey]).filter((value) =>
      value !== undefined
    );
    return values.length === 0 ? undefined : median(values);
  }

  /** Whether any measurement failed on any way. */
  get hasFailures(): boolean {
    return [...this.#cells.values()].some(({ failures }) => failures.length > 0);
  }

  #cell(measurementId: string, route: RouteName): { rounds: Figures[]; failures: string[] } {
    const id = key(measurementId, route);
    let cell = this.#cells.get(id);
    if (cell === undefined) this.#cells.set(id, cell = { rounds: [], failures: [] });
    return cell;
  }
}

function key(measurementId: string, route: RouteName): string {
  return `${route} ${measurementId}`;
}
