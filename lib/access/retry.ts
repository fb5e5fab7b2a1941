/** Retries while the relay is unavailable for a moment, as during an upgrade. */
import { ServiceError } from "./service_error.ts";

/** How long a local connection waits for a relay that is away, in milliseconds. */
const retryForMs = 10_000;
const firstWaitMs = 200;
const longestWaitMs = 2_000;

/** A clock that tests can replace. */
export interface RetryClock {
  nowMs(): number;
  /** Resolves after a time, or as soon as the signal comes. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

/**
 * Attempts until it works, the reason is one that stays, or {@link retryForMs} are over.
 *
 * @throws what the last attempt threw
 */
export async function retryWhileAway<Result>(
  attempt: () => Promise<Result>,
  signal: AbortSignal,
  clock: RetryClock = realClock,
): Promise<Result> {
  const endMs = clock.nowMs() + retryForMs;
  for (let waitMs = firstWaitMs;; waitMs = Math.min(waitMs * 2, longestWaitMs)) {
    try {
      return await attempt();
    } catch (error) {
      const isPassing = error instanceof ServiceError && error.isPassing;
      const ms = isPassing ? Math.max(error.retryAfterMs ?? 0, waitMs) : 0;
      if (!isPassing || signal.aborted || clock.nowMs() + ms > endMs) throw error;
      await clock.wait(ms, signal);
      if (signal.aborted) throw error;
    }
  }
}

const realClock: RetryClock = {
  nowMs: () => performance.now(),
  wait(ms, signal) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    const done = (): void => resolve();
    signal.addEventListener("abort", done);
    return promise.then(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
    });
  },
};
