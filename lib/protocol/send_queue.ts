/** Bytes of one stream that wait to be sent, in the order in which they were written. */
import { freeCallback } from "../bytes/bytes.ts";

/** Half-sent bytes are copied where that frees this share of them; for less, every Credit would cost a copy. */
const worthCopyingShare = 0.25;
/** Places of bytes that were taken, after which they are cleared away. */
const maxTakenItems = 64;

/** Bytes whose memory their writer wants back. */
interface PendingFree {
  /** Where they end among all that was written. */
  readonly end: number;
  readonly free: () => void;
}

/** Taken from in slices; the memory of what was taken is freed when it has been copied. */
export class SendQueue {
  #items: Uint8Array[] = [];
  #head = 0;
  #pendingFrees: PendingFree[] = [];
  /** Bytes that wait. */
  bytes = 0;
  /** Bytes that were taken, ever. */
  takenBytes = 0;

  /** What waits, while nothing was taken. */
  get items(): readonly Uint8Array[] {
    return this.#items;
  }

  /** Adds bytes. @param free Called once nothing of them is needed any more; never, when they are dropped. */
  push(bytes: Uint8Array, free?: () => void): void {
    this.#items.push(bytes);
    this.bytes += bytes.length;
    if (free) this.#pendingFrees.push({ end: this.takenBytes + this.bytes, free });
  }

  /** The next bytes, at most so many, and none of the item behind; something must be there. */
  take(maxBytes: number): Uint8Array {
    const head = this.#items[this.#head]!;
    let slice = head;
    if (head.length > maxBytes) {
      slice = head.subarray(0, maxBytes);
      this.#items[this.#head] = head.subarray(maxBytes);
    } else this.#shift();
    this.bytes -= slice.length;
    this.takenBytes += slice.length;
    return slice;
  }

  #shift(): void {
    this.#head++;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head > maxTakenItems) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Whether memory is still to be freed. */
  get hasPendingFrees(): boolean {
    return this.#pendingFrees.length > 0;
  }

  /** Frees the memory of what was taken: somebody has a copy of it now. */
  freeTaken(): void {
    while (this.#pendingFrees[0] && this.#pendingFrees[0].end <= this.takenBytes) {
      this.#pendingFrees.shift()!.free();
    }
  }

  /** Copies what is left of bytes that are half sent: they may lie here for as long as nobody reads. */
  keepOnlyRest(): void {
    const rest = this.#items[this.#head];
    const pending = this.#pendingFrees[0];
    if (rest === undefined || pending?.end !== this.takenBytes + rest.length) return;
    const sentBytes = rest.buffer.byteLength - rest.length;
    if (sentBytes < rest.length * worthCopyingShare) return;
    // A copy indeed: `slice` of Node's Buffer is none.
    const copy = this.#items[this.#head] = new Uint8Array(rest);
    const free = freeCallback(copy);
    if (free) this.#pendingFrees[0] = { end: pending.end, free };
    else this.#pendingFrees.shift();
    pending.free();
  }

  /** Drops all that waits. */
  clear(): void {
    this.#items = [];
    this.#head = 0;
    this.#pendingFrees = [];
    this.bytes = 0;
  }
}
