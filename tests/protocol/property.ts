/**
 * Runs property tests within a time budget. A failure prints its seed and path; `FC_SEED=<seed>` runs
 * the same values again.
 */
import fc, { type IAsyncProperty, type IProperty } from "fast-check";

/** The longest that one property goes on starting new runs, in milliseconds. */
const BUDGET_MS = 5_000;

/** How often a property runs unless its budget is used up before. */
export interface Effort {
  readonly numRuns?: number;
}

/** Checks a property over pure functions. */
export function check<Values>(property: IProperty<Values>, effort: Effort = {}): void {
  fc.assert(property, parameters(effort));
}

/** Checks a property that awaits something. */
export async function checkAsync<Values>(
  property: IAsyncProperty<Values>,
  effort: Effort = {},
): Promise<void> {
  await fc.assert(property, parameters(effort));
}

function parameters({ numRuns = 300 }: Effort) {
  const seed = Deno.env.get("FC_SEED");
  return {
    numRuns,
    interruptAfterTimeLimit: BUDGET_MS,
    ...(seed === undefined ? {} : { seed: Number(seed) }),
  };
}

/** Any bytes. */
export function anyBytes(maxLength: number): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  return fc.uint8Array({ maxLength }) as fc.Arbitrary<Uint8Array<ArrayBuffer>>;
}

/** Bytes cut into pieces at any offsets. */
export function chunkings(bytes: Uint8Array): fc.Arbitrary<Uint8Array[]> {
  const offsets = fc.uniqueArray(fc.nat(Math.max(0, bytes.length)), { maxLength: 12 });
  return offsets.map((cuts) => cutAt(bytes, cuts));
}

/** Bytes cut into pieces at the given offsets, in whatever order these are. */
export function cutAt(bytes: Uint8Array, offsets: readonly number[]): Uint8Array[] {
  const bounds = [0, ...[...offsets].sort((a, b) => a - b), bytes.length];
  const pieces: Uint8Array[] = [];
  for (let index = 1; index < bounds.length; index++) {
    pieces.push(bytes.subarray(bounds[index - 1]!, bounds[index]!));
  }
  return pieces;
}
