/** Counts of what came of the traffic, by kind of traffic. */
import { type Verdict, VERDICTS } from "./outcome.ts";

/** The counts of one soak. */
export class Tally {
  readonly #counts = new Map<string, Record<Verdict, number>>();

  /** Counts one. */
  add(job: string, verdict: Verdict): void {
    let counts = this.#counts.get(job);
    if (counts === undefined) {
      counts = { right: 0, "failed cleanly": 0, lost: 0, wrong: 0 };
      this.#counts.set(job, counts);
    }
    counts[verdict]++;
  }

  /** How many had this verdict, over all kinds of traffic. */
  total(verdict: Verdict): number {
    return this.#counts.values().reduce((sum, counts) => sum + counts[verdict], 0);
  }

  /** All totals in one line. */
  summary(): string {
    return VERDICTS.map((verdict) => `${this.total(verdict)} ${verdict}`).join(", ");
  }

  /** A table with a line for each kind of traffic. */
  table(): string {
    const heading = ["", ...VERDICTS];
    const rows = [...this.#counts].toSorted(([a], [b]) => a < b ? -1 : 1).map(([job, counts]) => [
      job,
      ...VERDICTS.map((verdict) => `${counts[verdict]}`),
    ]);
    return [heading, ...rows]
      .map(([job = "", ...cells]) =>
        job.padEnd(18) + cells.map((cell) => cell.padStart(16)).join("")
      )
      .join("\n");
  }
}
