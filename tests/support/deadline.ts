/**
 * Waiting with a deadline: every wait in the tests says what it waits for and for how long, so a
 * test that would hang fails with that sentence instead.
 */

/** Default deadline of one wait; generous, because test files share few cores. */
export const DEFAULT_DEADLINE_MS = 60_000;

/** Thrown when what a test waited for did not happen in time. */
export class DeadlineError extends Error {
  override name = "DeadlineError";
}

/**
 * Resolves or rejects as `promise` does, or rejects with {@link DeadlineError} after `timeoutMs`.
 * `what` completes the sentence "Waited N ms for …"; a function is asked only when time is up.
 */
export async function within<T>(
  promise: Promise<T>,
  what: string | (() => string),
  timeoutMs: number = DEFAULT_DEADLINE_MS,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const text = typeof what === "string" ? what : what();
      reject(new DeadlineError(`Waited ${timeoutMs} ms for ${text}`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** Polls `condition` every few milliseconds until it holds; {@link DeadlineError} if it never does. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: string | (() => string),
  timeoutMs: number = DEFAULT_DEADLINE_MS,
): Promise<void> {
  const pollMs = 5;
  const deadline = performance.now() + timeoutMs;
  while (!await condition()) {
    if (performance.now() >= deadline) {
      const text = typeof what === "string" ? what : what();
      throw new DeadlineError(`Waited ${timeoutMs} ms for ${text}`);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/**
 * Waits until `sample` has returned the same value for `quietMs`, and returns that value: how a test
 * learns that backpressure has brought a transfer to a halt.
 */
export async function untilSteady(
  sample: () => number,
  what: string,
  { quietMs = 1_000, timeoutMs = DEFAULT_DEADLINE_MS } = {},
): Promise<number> {
  let last = sample();
  let since = performance.now();
  await eventually(
    () => {
      const now = sample();
      if (now !== last) {
        last = now;
        since = performance.now();
      }
      return performance.now() - since >= quietMs;
    },
    () => `${what} to stop changing (now ${last})`,
    timeoutMs,
  );
  return last;
}

/**
 * Waits until a sample is `expected`: how a test asserts a metric, a status or a count, which may
 * change a moment after what the test saw before.
 */
export async function untilEqual<T>(sample: () => T | Promise<T>, expected: T): Promise<void> {
  let last: T | undefined;
  await eventually(
    async () => (last = await sample()) === expected,
    () => `${sample} to be ${expected}, not ${last}`,
  );
}
