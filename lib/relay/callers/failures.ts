/** Refused credentials, by address: who tries many has to wait for each answer. */

/** Failures of one address that are answered at once; one more is forgiven each second. */
const freeFailures = 10;
/** How long an answer waits after those, in milliseconds. */
const answerDelayMs = 1_000;
/** Answers that wait at once for one address; the next one is refused without waiting. */
const maxWaiting = 32;
/** Addresses that are remembered; beyond that, the one that failed longest ago is forgotten. */
const maxAddresses = 4_096;

interface Record {
  /** Failures that were not forgiven yet, as of `lastMs`. */
  count: number;
  lastMs: number;
  waiting: number;
}

/** How the refusal of a credential is to be answered. */
export type Pace =
  | { readonly kind: "now" }
  /** After this long; `done` must be called then. */
  | { readonly kind: "later"; readonly ms: number; readonly done: () => void }
  /** Not any more: too many wait already. */
  | { readonly kind: "never" };

/** Counts refused credentials for each address. Whoever shows a valid one is not slowed down. */
export class Failures {
  readonly #records = new Map<string, Record>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Counts a failure and says when to answer it. */
  add(address: string): Pace {
    const record = this.#recordOf(address);
    record.count++;
    if (record.count <= freeFailures) return { kind: "now" };
    if (record.waiting >= maxWaiting) return { kind: "never" };
    record.waiting++;
    return { kind: "later", ms: answerDelayMs, done: () => void record.waiting-- };
  }

  #recordOf(address: string): Record {
    const nowMs = this.#nowMs();
    const known = this.#records.get(address);
    const record = known ?? { count: 0, lastMs: nowMs, waiting: 0 };
    record.count = Math.max(0, record.count - (nowMs - record.lastMs) / 1_000);
    // More than one waits for would only mean to wait for longer after it has stopped.
    record.count = Math.min(record.count, freeFailures + maxWaiting);
    record.lastMs = nowMs;
    // Behind all others: the first is the one that failed longest ago.
    this.#records.delete(address);
    this.#records.set(address, record);
    if (this.#records.size > maxAddresses) {
      const [oldest] = this.#records.keys();
      if (oldest !== undefined) this.#records.delete(oldest);
    }
    return record;
  }
}
