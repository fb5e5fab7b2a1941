/** Warnings that anybody outside can cause: only so many of them reach the log. */
import type { Log } from "../../log.ts";
import { RateLimit } from "./rate_limit.ts";

/** Lines a second; what causes them is counted by metrics in any case. */
const linesPerSecond = 5;

/** Writes a few of many warnings, each with how many were left out before it. */
export class SparseLog {
  readonly #log: Log;
  readonly #limit = new RateLimit(linesPerSecond);
  #unlogged = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  warn(message: string, properties: Record<string, unknown>): void {
    if (!this.#limit.admits()) {
      this.#unlogged++;
      return;
    }
    this.#log.warn(message, { ...properties, unlogged: this.#unlogged || undefined });
    this.#unlogged = 0;
  }
}
