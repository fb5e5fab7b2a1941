/** Bytes that come in pieces and are wanted in one. */
import { noBytes } from "./bytes.ts";

const leastCapacity = 1024;

/**
 * Joins pieces at a cost that grows with their bytes, however small they are: room is doubled, where
 * `concat` for each piece would copy all that came before. One piece alone is not copied at all.
 *
 * What it hands out stays as it is: later pieces are written behind it.
 */
export class ByteBuffer {
  #bytes: Uint8Array = noBytes;
  #length = 0;
  /** Whether the memory is our own, so that there may be room behind the bytes. */
  #isOwn = false;

  get length(): number {
    return this.#length;
  }

  /** All bytes. */
  get bytes(): Uint8Array {
    return this.#length === this.#bytes.length
      ? this.#bytes
      : this.#bytes.subarray(0, this.#length);
  }

  /** Adds a piece, which must not change any more. */
  append(piece: Uint8Array): void {
    if (piece.length === 0) return;
    if (this.#length === 0) {
      this.#bytes = piece;
      this.#length = piece.length;
      this.#isOwn = false;
      return;
    }
    const length = this.#length + piece.length;
    if (!this.#isOwn || length > this.#bytes.length) this.#grow(length);
    this.#bytes.set(piece, this.#length);
    this.#length = length;
  }

  /** All bytes; the buffer is empty then. */
  take(): Uint8Array {
    const { bytes } = this;
    this.#bytes = noBytes;
    this.#length = 0;
    return bytes;
  }

  #grow(length: number): void {
    const grown = new Uint8Array(Math.max(leastCapacity, length * 2));
    grown.set(this.bytes);
    this.#bytes = grown;
    this.#isOwn = true;
  }
}
