/** Waiting: abortable pauses, and polling with a deadline. */

/** Resolves after `ms`; rejects with the signal's reason as soon as that is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** How to poll. */
export interface PollOptions {
  /** Completes the sentence "Waited N ms for …"; called when time is up. */
  readonly what: () => string;
  readonly timeoutMs: number;
  readonly intervalMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Calls `attempt` until it returns something other than undefined; throws when time is up. */
export async function poll<T>(
  attempt: () => T | undefined | Promise<T | undefined>,
  { what, timeoutMs, intervalMs = 50, signal }: PollOptions,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  while (true) {
    const result = await attempt();
    if (result !== undefined) return result;
    if (performance.now() >= deadline) throw new Error(`Waited ${timeoutMs} ms for ${what()}`);
    await pause(intervalMs, signal);
  }
}
