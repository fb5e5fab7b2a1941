/** Refused credentials, by address: who tries many has to wait for each answer. */
import { Counter } from "../counter.ts";
import { networkOf } from "../net/network_of.ts";

/** Failures of one address that are answered at once; one more is forgiven each second. */
export const freeFailures = 10;
/** How long an answer waits after those, in milliseconds. */
const answerDelayMs = 1_000;
/** Answers that wait at once for one address; the next one is refused without waiting. */
export const maxWaiting = 32;
/** Answers that wait at once for all addresses together. */
export const maxWaitingOverall = 1_024;
/** Addresses that are remembered; beyond that, the one that failed longest ago is forgotten. */
const maxAddresses = 10_000;

interface AddressFailures {
  /** Failures that were not forgiven yet, as of `lastMs`. */
  count: number;
  lastMs: number;
  readonly waiting: Counter;
}

/** How the refusal of a credential is to be answered. */
export type ReplyDelay =
  | { readonly kind: "now" }
  /** Answer after `ms` milliseconds, and call `done` then. */
  | { readonly kind: "later"; readonly ms: number; readonly done: () => void }
  /** Not any more: too many wait already. */
  | { readonly kind: "never" };

/** Waits for as long as the answer has to; `never` is not waited for. */
export async function untilDue(delay: ReplyDelay): Promise<void> {
  if (delay.kind !== "later") return;
  await new Promise((resolve) => setTimeout(resolve, delay.ms));
  delay.done();
}

/** Counts refused credentials for each address. Whoever shows a valid one is not slowed down. */
export class AuthThrottle {
  readonly #records = new Map<string, AddressFailures>();
  readonly #nowMs: () => number;
  readonly #waiting = new Counter();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Counts a failure and says when to answer it. */
  add(address: string): ReplyDelay {
    const record = this.#recordOf(address);
    record.count++;
    if (record.count <= freeFailures) return { kind: "now" };
    if (record.waiting.count >= maxWaiting || this.#waiting.count >= maxWaitingOverall) {
      return { kind: "never" };
    }
    const slots = [record.waiting.acquire(), this.#waiting.acquire()];
    const done = (): void => {
      for (const slot of slots) slot.release();
    };
    return { kind: "later", ms: answerDelayMs, done };
  }

  /** How many addresses are remembered. */
  get size(): number {
    return this.#records.size;
  }

  #recordOf(peer: string): AddressFailures {
    const address = networkOf(peer);
    const nowMs = this.#nowMs();
    const known = this.#records.get(address);
    const record = known ?? { count: 0, lastMs: nowMs, waiting: new Counter() };
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
