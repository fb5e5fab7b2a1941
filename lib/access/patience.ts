/** Trying again while the relay is away for a moment, as when it is replaced by a new version. */
import { ServiceError } from "./service_error.ts";

/** How long a local connection waits for a relay that is away, in milliseconds. */
const patienceMs = 10_000;
const firstWaitMs = 200;
const longestWaitMs = 2_000;

/** What time is made of; tests have another one. */
export interface PatienceClock {
  nowMs(): number;
  /** Resolves after a time, or as soon as the signal comes. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

/**
 * Attempts until it works, the reason is one that stays, or {@link patienceMs} are over.
 *
 * @throws what the last attempt threw
 */
export async function patiently<Result>(
  attempt: () => Promise<Result>,
  signal: AbortSignal,
  clock: PatienceClock = realClock,
): Promise<Result> {
  const endMs = clock.nowMs() + patienceMs;
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

const realClock: PatienceClock = {
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
