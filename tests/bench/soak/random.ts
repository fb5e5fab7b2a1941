/** Random choices that a seed repeats. Not for secrets. */

/** How many random bytes are made; longer bodies repeat them. */
const POOL_BYTES = 1024 * 1024;

/** A stream of random numbers (splitmix32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A whole number from 0 to 2^32 - 1. */
  uint32(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let mixed = this.#state ^ (this.#state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }

  /** A number from 0 to just under 1. */
  fraction(): number {
    return this.uint32() / 2 ** 32;
  }

  /** A whole number from `low` to `high`, both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.fraction() * (high - low + 1));
  }

  /** A whole number from 1 to `high`, where each order of magnitude is as likely as the next. */
  size(high: number): number {
    return Math.floor((high + 1) ** this.fraction());
  }

  /** Whether something of this probability happens. */
  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  /** One of the items. */
  pick<T>(items: readonly [T, ...T[]]): T {
    return items[this.integer(0, items.length - 1)] ?? items[0];
  }

  /** A generator of its own, for a worker whose choices are not to depend on another's timing. */
  fork(): Random {
    return new Random(this.uint32());
  }

  /** Bytes that begin at a random place of a fixed random pool. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    let from = this.integer(0, POOL_BYTES - 1);
    for (let at = 0; at < length;) {
      const part = pool().subarray(from, from + length - at);
      bytes.set(part, at);
      at += part.length;
      from = 0;
    }
    return bytes;
  }
}

let madePool: Uint8Array | undefined;

function pool(): Uint8Array {
  if (madePool === undefined) {
    const random = new Random(0x50a4);
    madePool = Uint8Array.from({ length: POOL_BYTES }, () => random.uint32() & 0xff);
  }
  return madePool;
}
