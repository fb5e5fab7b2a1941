/**
 * The log of a running program, read so that no test is faster than it. A line leaves its program
 * through a queue and a pipe, and so it arrives some time after what it tells: after an answer, a
 * metric or a line of another program. All there is here waits for what a test asserts.
 */
import { DEFAULT_DEADLINE_MS, within } from "./deadline.ts";

/** One line of a program's log; a line that is not JSON has only `message`. */
export interface LogLine {
  readonly message: string;
  readonly level?: string;
  readonly logger?: string;
  readonly [property: string]: unknown;
}

/** Chooses lines. */
export type LogFilter = (line: LogLine) => boolean;

/** How long to wait for lines, and what to call them where they do not come. */
export interface LogWait {
  readonly timeoutMs?: number;
  readonly what?: string;
}

/** What tests may do with a program's log. */
export interface ReadableLog {
  /**
   * The first line, already logged or still to come, that `accepts` takes. Rejects with the whole
   * log when there is none in time or the program ends before; so do the other methods.
   */
  waitForLog(accepts: LogFilter, wait?: LogWait): Promise<LogLine>;
  /** The first `count` such lines. To say that there are no more, use {@link completeLog}. */
  waitForLogs(count: number, accepts: LogFilter, wait?: LogWait): Promise<LogLine[]>;
  /**
   * The first such line that arrives after `action` has begun, once that is done. A test that has not
   * waited for an earlier one may get that.
   */
  logAfter(action: () => Promise<void>, accepts: LogFilter, wait?: LogWait): Promise<LogLine>;
  /**
   * All lines up to the first that `accepts` takes. Since lines keep their order, this says of a
   * program that goes on what it had not logged before.
   */
  logUntil(accepts: LogFilter, wait?: LogWait): Promise<readonly LogLine[]>;
  /** All lines so far, as soon as `holds` is true of them. */
  logWhen(
    holds: (lines: readonly LogLine[]) => boolean,
    wait?: LogWait,
  ): Promise<readonly LogLine[]>;
  /**
   * Stops the program, if it still runs, and returns everything that it has logged: to assert what
   * it has not logged, or how often. What it serves at that time holds it up for its grace.
   */
  completeLog(): Promise<readonly LogLine[]>;
}

interface Waiter {
  readonly lineCame: () => void;
  readonly reject: (error: Error) => void;
}

/** Collects a program's lines. */
export class ProgramLog implements Omit<ReadableLog, "completeLog"> {
  readonly #lines: LogLine[] = [];
  readonly #waiters = new Set<Waiter>();
  readonly #title: string;
  #endError: ((what: string) => Error) | undefined;

  /** @param title What stands above the lines in a failure. */
  constructor(title: string) {
    this.#title = title;
  }

  /** The lines that have arrived; all of them once the program has ended. */
  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  add(line: LogLine): void {
    this.#lines.push(line);
    for (const waiter of this.#waiters) waiter.lineCame();
  }

  /** No line comes any more: whoever waits fails with `error`. */
  end(error: (what: string) => Error): void {
    this.#endError = error;
    for (const waiter of this.#waiters) waiter.reject(error("a log line"));
  }

  async waitForLog(accepts: LogFilter, wait?: LogWait): Promise<LogLine> {
    return await this.#until(() => this.#lines.find(accepts), wait);
  }

  async waitForLogs(count: number, accepts: LogFilter, wait: LogWait = {}): Promise<LogLine[]> {
    const first = () => this.#lines.filter(accepts).slice(0, count);
    const what = () => `${wait.what ?? "log lines"} (${first().length} of ${count})`;
    const reached = () => first().length === count ? first() : undefined;
    return await this.#until(reached, { ...wait, what });
  }

  async logAfter(
    action: () => Promise<void>,
    accepts: LogFilter,
    wait?: LogWait,
  ): Promise<LogLine> {
    const begin = this.#lines.length;
    await action();
    const isNew = (line: LogLine, index: number) => index >= begin && accepts(line);
    return await this.#until(() => this.#lines.find(isNew), wait);
  }

  async logUntil(accepts: LogFilter, wait?: LogWait): Promise<readonly LogLine[]> {
    const last = await this.waitForLog(accepts, wait);
    return this.#lines.slice(0, this.#lines.indexOf(last) + 1);
  }

  async logWhen(
    holds: (lines: readonly LogLine[]) => boolean,
    wait?: LogWait,
  ): Promise<readonly LogLine[]> {
    return await this.#until(() => holds(this.#lines) ? [...this.#lines] : undefined, wait);
  }

  /** The lines as text, for failure messages. */
  text(count = Infinity): string {
    const lines = count === Infinity ? this.#lines : this.#lines.slice(-count);
    return [`${this.#title}:`, ...lines.map((line) => `  ${JSON.stringify(line)}`)].join("\n");
  }

  async #until<T>(
    look: () => T | undefined,
    { timeoutMs = DEFAULT_DEADLINE_MS, what = "a log line" }: {
      timeoutMs?: number;
      what?: string | (() => string);
    } = {},
  ): Promise<T> {
    const name = () => typeof what === "string" ? what : what();
    const found = look();
    if (found !== undefined) return found;
    if (this.#endError) throw this.#endError(name());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const lineCame = () => {
      const found = look();
      if (found !== undefined) resolve(found);
    };
    const waiter: Waiter = { lineCame, reject };
    this.#waiters.add(waiter);
    try {
      return await within(promise, () => `${name()}\n${this.text()}`, timeoutMs);
    } finally {
      this.#waiters.delete(waiter);
    }
  }
}

/** A line of a program as it stands in its log; what is not JSON becomes the message. */
export function parseLogLine(text: string): LogLine {
  try {
    const value: unknown = JSON.parse(text);
    if (isLogLine(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return { message: text };
}

function isLogLine(value: unknown): value is LogLine {
  return typeof value === "object" && value !== null && "message" in value &&
    typeof value.message === "string";
}
