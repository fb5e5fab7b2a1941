/**
 * The memory of watches of relays: names, and lines whose end has not come yet. Whoever makes a Tunnel
 * says which relay is followed, so what relays tell is bounded: each, and all together.
 */

/** A watch, as far as its memory goes. */
export interface NameHolder {
  /** Ends the watch, and forgets its names. */
  readonly evict: () => void;
}

/** A relay tells of more than there is room for. */
export class TooManyNames extends Error {
  override readonly name = "TooManyNames";
}

const defaultMaxNames = 100_000;
const defaultMaxBytes = 32 * 1024 * 1024;
/** The bytes of a character outside ISO-8859-1. */
const characterBytes = 2;
/** What a name takes besides its characters. */
const nameBytes = 64;

/** Room for names and lines. When there is none left, the watch that has the most of it loses it. */
export class NameBudget {
  readonly maxNames: number;
  readonly #maxBytes: number;
  readonly #held = new Map<NameHolder, number>();
  #used = 0;

  /**
   * @param maxNames What one watch may remember at once.
   * @param maxBytes What all of them may hold together.
   */
  constructor({ maxNames = defaultMaxNames, maxBytes = defaultMaxBytes } = {}) {
    this.maxNames = maxNames;
    this.#maxBytes = maxBytes;
  }

  /** Bytes that are held now. */
  get used(): number {
    return this.#used;
  }

  /** @throws {TooManyNames} if nobody else holds more */
  take(holder: NameHolder, bytes: number): void {
    while (this.#used + bytes > this.#maxBytes) {
      const largest = this.#largest(holder);
      if (largest === holder) throw new TooManyNames(tooManyText);
      largest.evict();
    }
    this.#add(holder, bytes);
  }

  giveBack(holder: NameHolder, bytes: number): void {
    this.#add(holder, -bytes);
  }

  #add(holder: NameHolder, bytes: number): void {
    const held = (this.#held.get(holder) ?? 0) + bytes;
    if (held > 0) this.#held.set(holder, held);
    else this.#held.delete(holder);
    this.#used += bytes;
  }

  #largest(asking: NameHolder): NameHolder {
    let [largest, most] = [asking, this.#held.get(asking) ?? 0];
    for (const [holder, held] of this.#held) {
      if (held > most) [largest, most] = [holder, held];
    }
    return largest;
  }
}

/** Why a watch has lost its room. */
export const tooManyText = "the relay tells of more objects than there is memory for";

/** The part of a line that a watch has read so far, within a budget. */
export class HeldLine {
  readonly #budget: NameBudget;
  readonly #holder: NameHolder;
  #bytes = 0;

  constructor(budget: NameBudget, holder: NameHolder) {
    this.#budget = budget;
    this.#holder = holder;
  }

  /** It has so many characters now. @throws {TooManyNames} */
  holds(characters: number): void {
    const bytes = characters * characterBytes;
    const more = bytes - this.#bytes;
    if (more > 0) this.#budget.take(this.#holder, more);
    else this.#budget.giveBack(this.#holder, -more);
    this.#bytes = bytes;
  }
}

/** A set of names within a budget. */
export class WatchedNames implements Iterable<string> {
  readonly #budget: NameBudget;
  readonly #holder: NameHolder;
  readonly #names = new Set<string>();
  #bytes = 0;

  constructor(budget: NameBudget, holder: NameHolder) {
    this.#budget = budget;
    this.#holder = holder;
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** @throws {TooManyNames} */
  add(name: string): void {
    if (this.#names.has(name)) return;
    const { maxNames } = this.#budget;
    if (this.#names.size >= maxNames) {
      throw new TooManyNames(`the relay tells of more than ${maxNames} objects`);
    }
    const bytes = bytesOf(name);
    this.#budget.take(this.#holder, bytes);
    this.#bytes += bytes;
    this.#names.add(name);
  }

  delete(name: string): void {
    if (!this.#names.delete(name)) return;
    this.#bytes -= bytesOf(name);
    this.#budget.giveBack(this.#holder, bytesOf(name));
  }

  clear(): void {
    this.#names.clear();
    this.#budget.giveBack(this.#holder, this.#bytes);
    this.#bytes = 0;
  }

  [Symbol.iterator](): Iterator<string> {
    return this.#names.values();
  }
}

function bytesOf(name: string): number {
  return name.length * characterBytes + nameBytes;
}
