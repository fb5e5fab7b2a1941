/** How a piece of traffic can end, and what is made of it. */
import type { Disturbances } from "./disturbances.ts";

/**
 * An answer that must never be given: a wrong byte, a cut body that looks whole, a status that no
 * restart explains, no end within the deadline.
 */
export class WrongAnswerError extends Error {
  override name = "WrongAnswerError";
}

/** A failure that a client can tell from success; right while something restarts. */
export class CleanFailureError extends Error {
  override name = "CleanFailureError";
}

/** A body of no announced length that ended in good order, earlier than asked for. */
export class EndedEarlyError extends Error {
  override name = "EndedEarlyError";
}

/** What the tally counts. */
export const VERDICTS = ["right", "failed cleanly", "lost", "wrong"] as const;

/** One of them. */
export type Verdict = typeof VERDICTS[number];

/**
 * Judges a piece of traffic that failed with `error` on `cluster` between two times
 * (performance.now()).
 */
export function judge(
  error: unknown,
  cluster: string,
  span: { readonly fromMs: number; readonly toMs: number },
  disturbances: Disturbances,
): Verdict {
  if (error instanceof WrongAnswerError) return "wrong";
  const causes = disturbances.during(cluster, span);
  if (error instanceof EndedEarlyError) {
    // Only a target that stops in good order ends an endless body in good order.
    return causes.includes("target stopped") ? "failed cleanly" : "wrong";
  }
  return causes.length > 0 ? "failed cleanly" : "lost";
}
