/** Fuzzes targets in turn until the time is over or one of them fails. */
import fc from "fast-check";
import type { FuzzTarget } from "./target.ts";

/** How fuzzing is run. */
export interface FuzzPlan {
  readonly targets: readonly FuzzTarget[];
  /** Of the first round; each further round has the next one. */
  readonly seed: number;
  readonly minutes: number;
  /** The longest turn of one target, in milliseconds. */
  readonly turnMs?: number;
  readonly report: (line: string) => void;
}

/** What fuzzing came to. */
export interface FuzzResult {
  /** Inputs that were tried, by target. */
  readonly runs: ReadonlyMap<string, number>;
  readonly finding: Finding | undefined;
}

/** Something that does not hold. */
export interface Finding {
  readonly target: FuzzTarget;
  /** With it, `--target` and a round are the same inputs again. */
  readonly seed: number;
  readonly report: string;
}

/** Runs of a turn at most: a round with one seed is then the same wherever it runs. */
const turnRuns = 20_000;

/** Runs the plan. */
export async function fuzz(plan: FuzzPlan): Promise<FuzzResult> {
  const endMs = performance.now() + plan.minutes * 60_000;
  const runs = new Map<string, number>();
  for (let seed = plan.seed; performance.now() < endMs; seed = nextSeed(seed)) {
    for (const target of plan.targets) {
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) break;
      const turnMs = Math.min(leftMs, plan.turnMs ?? 10_000);
      const details = await fc.check(target.property() as fc.IAsyncProperty<unknown>, {
        seed,
        numRuns: turnRuns,
        interruptAfterTimeLimit: turnMs,
        markInterruptAsFailure: false,
      });
      runs.set(target.name, (runs.get(target.name) ?? 0) + details.numRuns);
      if (!details.failed) continue;
      const report = await fc.asyncDefaultReportMessage(details) ?? "no details";
      return { runs, finding: { target, seed, report } };
    }
    plan.report(`seed ${seed}: ${[...runs].map(([name, count]) => `${name} ${count}`).join(", ")}`);
  }
  return { runs, finding: undefined };
}

/** fast-check takes 32 bits. */
function nextSeed(seed: number): number {
  return (seed + 1) | 0;
}
