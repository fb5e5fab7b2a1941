/** Log lines that anybody outside can cause: a few of each kind and address, and how many more there were. */
import type { Log } from "./log.ts";
import { networkOf } from "./net/network_of.ts";

/** What makes lines alike. Each value is one of a few; only the address is the peer's. */
export interface LineKind {
  readonly [name: string]: string | number | boolean | undefined;
  readonly peer: string;
}

type Level = "debug" | "info" | "warn";

/** Lines of one kind and address that are logged before the others are counted. */
export const freeLines = 5;
/** First lines a second of one message, whatever their addresses. */
export const linesPerSecond = 5;
/** The time after which a line says how many more there were; it doubles for as long as they keep coming. */
export const firstPeriodMs = 5_000;
const lastPeriodMs = 60_000;
/** Kinds and addresses that are remembered. The lines of others count together. */
export const maxKinds = 1_024;
/** Kinds and addresses of one message that are told at a time, those with the most lines. */
export const toldAtOnce = 10;
const sweepMs = 1_000;

interface Counted {
  readonly level: Level;
  readonly message: string;
  readonly about: LineKind;
  lines: number;
  unlogged: number;
  periodMs: number;
  endMs: number;
}

/** What is counted of all lines with one message. */
interface MessageCount {
  readonly level: Level;
  readonly bucket: TokenBucket;
  /** Lines of kinds and addresses that are not remembered. */
  unlogged: number;
  toldMs: number;
}

/**
 * Logs the first lines of a kind and address, and of the others how many there were: "Refused a
 * caller; 297 more like this from 203.0.113.7 in the last minute". Keeps no timer: it is told to
 * {@link sweep}, and looks by itself whenever a line comes.
 */
export class RateLimitedLog {
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #kinds = new Map<string, Counted>();
  readonly #messages = new Map<string, MessageCount>();
  #sweptMs: number;

  constructor(log: Log, nowMs: () => number = () => performance.now()) {
    this.#log = log;
    this.#nowMs = nowMs;
    this.#sweptMs = nowMs();
  }

  /**
   * @param about What makes lines alike.
   * @param more What only the line itself has.
   */
  debug(message: string, about: LineKind, more?: Record<string, unknown>): void {
    this.#line("debug", message, about, more);
  }

  info(message: string, about: LineKind, more?: Record<string, unknown>): void {
    this.#line("info", message, about, more);
  }

  warn(message: string, about: LineKind, more?: Record<string, unknown>): void {
    this.#line("warn", message, about, more);
  }

  /** Tells of the lines that were not logged, once their time is over; or now, of all. */
  sweep(all = false): void {
    const nowMs = this.#nowMs();
    this.#sweptMs = nowMs;
    const due = new Map<string, Counted[]>();
    for (const [key, counted] of this.#kinds) {
      if (!all && nowMs < counted.endMs) continue;
      if (counted.unlogged === 0) {
        this.#kinds.delete(key);
        continue;
      }
      const list = due.get(counted.message) ?? [];
      if (list.push(counted) === 1) due.set(counted.message, list);
    }
    for (const [message, count] of this.#messages) {
      this.#tell(message, count, due.get(message) ?? [], { nowMs, all });
    }
  }

  #line(level: Level, message: string, about: LineKind, more: Record<string, unknown> = {}): void {
    const nowMs = this.#nowMs();
    if (nowMs - this.#sweptMs >= sweepMs) this.sweep();
    const count = this.#countOf(level, message, nowMs);
    const counted = this.#kindOf(level, message, about, nowMs);
    if (!counted) {
      count.unlogged++;
    } else if (counted.lines < freeLines && count.bucket.admits(nowMs)) {
      counted.lines++;
      this.#log[level](message, { ...about, ...more });
    } else {
      counted.unlogged++;
    }
  }

  #countOf(level: Level, message: string, nowMs: number): MessageCount {
    let count = this.#messages.get(message);
    if (!count) {
      count = { level, bucket: new TokenBucket(linesPerSecond, nowMs), unlogged: 0, toldMs: nowMs };
      this.#messages.set(message, count);
    }
    return count;
  }

  #kindOf(level: Level, message: string, about: LineKind, nowMs: number): Counted | undefined {
    let key = message;
    for (const name in about) key += `\0${name === "peer" ? networkOf(about.peer) : about[name]}`;
    const known = this.#kinds.get(key);
    if (known || this.#kinds.size >= maxKinds) return known;
    const periodMs = firstPeriodMs;
    const counts = { lines: 0, unlogged: 0, periodMs, endMs: nowMs + periodMs };
    const counted = { level, message, about, ...counts };
    this.#kinds.set(key, counted);
    return counted;
  }

  #tell(
    message: string,
    count: MessageCount,
    due: Counted[],
    { nowMs, all }: { nowMs: number; all: boolean },
  ): void {
    due.sort((one, other) => other.unlogged - one.unlogged);
    for (const counted of due.slice(0, toldAtOnce)) {
      const { about, level, unlogged, periodMs } = counted;
      const from = `from ${shownNetwork(about.peer)} in the last ${inWords(periodMs)}`;
      this.#log[level](`${message}; ${unlogged} more like this ${from}`, { ...about, unlogged });
    }
    for (const counted of due.slice(toldAtOnce)) count.unlogged += counted.unlogged;
    for (const counted of due) prolong(counted, nowMs);
    if (count.unlogged === 0 || (!all && nowMs - count.toldMs < firstPeriodMs)) return;
    const { unlogged } = count;
    count.unlogged = 0;
    count.toldMs = nowMs;
    this.#log[count.level](`${message}; ${unlogged} more like this from other addresses`, {
      unlogged,
    });
  }
}

function prolong(counted: Counted, nowMs: number): void {
  counted.unlogged = 0;
  counted.periodMs = Math.min(counted.periodMs * 2, lastPeriodMs);
  counted.endMs = nowMs + counted.periodMs;
}

/** An IPv6 address stands for its network, as it is counted. */
function shownNetwork(address: string): string {
  const network = networkOf(address);
  return network === address ? address : `${network}::/64`;
}

function inWords(ms: number): string {
  return ms === 60_000 ? "minute" : `${ms / 1_000} s`;
}

/** So many in a second, and as many at once. */
class TokenBucket {
  readonly #perSecond: number;
  #tokens: number;
  #lastMs: number;

  constructor(perSecond: number, nowMs: number) {
    this.#perSecond = this.#tokens = perSecond;
    this.#lastMs = nowMs;
  }

  admits(nowMs: number): boolean {
    const earned = (nowMs - this.#lastMs) / 1_000 * this.#perSecond;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + earned);
    this.#lastMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
