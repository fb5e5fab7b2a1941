/** Memory that several users share: each takes a part of it, or is told that there is none left. */
export class ByteBudget {
  readonly #bytes: number;
  #used = 0;

  /** @param bytes What all of them may hold together. */
  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** Bytes that are held now. */
  get used(): number {
    return this.#used;
  }

  /** Takes `bytes`, or nothing and says so. */
  take(bytes: number): boolean {
    if (this.#used + bytes > this.#bytes) return false;
    this.#used += bytes;
    return true;
  }

  /** Gives back what was taken. */
  giveBack(bytes: number): void {
    this.#used -= bytes;
  }
}
