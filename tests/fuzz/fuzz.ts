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
      // In the first round each target has its turn, if only for one run.
      if (leftMs <= 0 && seed !== plan.seed) break;
      const turnMs = Math.max(1, Math.min(leftMs, plan.turnMs ?? 10_000));
      const details = await turn(target, seed, turnMs);
      runs.set(target.name, (runs.get(target.name) ?? 0) + details.numRuns);
      if (!details.failed) continue;
      const report = await fc.asyncDefaultReportMessage(details) ?? "no details";
      return { runs, finding: { target, seed, report } };
    }
    plan.report(`seed ${seed}: ${[...runs].map(([name, count]) => `${name} ${count}`).join(", ")}`);
  }
  return { runs, finding: undefined };
}

/** One turn: as many runs as there is time for, and one at least. */
async function turn(
  target: FuzzTarget,
  seed: number,
  turnMs: number,
): Promise<fc.RunDetails<unknown>> {
  const limits = { interruptAfterTimeLimit: turnMs, markInterruptAsFailure: false };
  const details = await check(target, { seed, numRuns: turnRuns, ...limits });
  // Time that was over before the first run looks like a failure.
  const isFinding = details.failed && details.counterexample !== null;
  return isFinding || !details.interrupted || details.numRuns > 0
    ? details
    : await check(target, { seed, numRuns: 1 });
}

/** Checks a target's property. The run that time has interrupted is over when this resolves. */
async function check(
  target: FuzzTarget,
  parameters: fc.Parameters<unknown>,
): Promise<fc.RunDetails<unknown>> {
  const property = target.property() as fc.IAsyncProperty<unknown>;
  const run = property.run.bind(property);
  let last: unknown;
  property.run = (...values) => {
    const result = run(...values);
    last = result;
    return result;
  };
  const details = await fc.check(property, parameters);
  await last;
  return details;
}

/** fast-check takes 32 bits. */
function nextSeed(seed: number): number {
  return (seed + 1) | 0;
}
