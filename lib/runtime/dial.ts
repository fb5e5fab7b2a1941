/** Attempts to connect, bounded by a timeout and by the signal of whoever waits. */
import { StreamError } from "../protocol/errors.ts";

/** What bounds an attempt. */
export interface AttemptBounds {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Runs an attempt with one signal for both bounds.
 *
 * @param late The signal's reason once the time is over.
 */
export async function withTimeout<T>(
  { timeoutMs, signal }: AttemptBounds,
  late: Error,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(late), timeoutMs);
  try {
    return await attempt(AbortSignal.any([signal, timeout.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Connects for a stream.
 *
 * @param failure What an error of the attempt's means to the stream.
 * @throws {StreamError} `timeout`, `reset` for the signal, or the attempt's
 */
export async function dialForStream<T>(
  bounds: AttemptBounds,
  attempt: (signal: AbortSignal) => Promise<T>,
  failure: (error: Error) => StreamError,
): Promise<T> {
  const late = new StreamError("timeout", `No connection within ${bounds.timeoutMs} ms`);
  let either = bounds.signal;
  try {
    return await withTimeout(bounds, late, (signal) => attempt(either = signal));
  } catch (error) {
    if (bounds.signal.aborted) throw new StreamError("reset", "The request was cancelled");
    if (either.aborted) throw late;
    if (error instanceof StreamError) throw error;
    throw failure(error instanceof Error ? error : new Error(String(error)));
  }
}

/**
 * For what can't be aborted: its result, unless the signal comes first.
 *
 * @param unwanted Gets a result that comes about after that.
 */
export async function unlessAborted<T>(
  pending: Promise<T>,
  signal: AbortSignal,
  unwanted: (result: T) => void,
): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    return await Promise.race([pending, aborted.promise]);
  } catch (error) {
    pending.then(unwanted, () => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
