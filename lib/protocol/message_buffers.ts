/** Memory for messages, used again once a message has left: bulk transfers need no new memory. */
import { allocate } from "../bytes/bytes.ts";

/** Room for a full message: its target size, one more frame on top, and what goes in front. */
const bufferBytes = 144 * 1024;
/** Smaller memory is cut from slabs. */
const minPooledBytes = 16 * 1024;
/** Buffers kept for later: what a socket's high-water mark holds at a time. */
const maxKept = 8;

/** The buffers of one session. */
export class MessageBuffers {
  readonly #free: ArrayBuffer[] = [];

  /** Memory of `length` bytes, whose content is not defined; the caller writes all of it. */
  take(length: number): Uint8Array {
    if (length < minPooledBytes || length > bufferBytes) return allocate(length);
    return new Uint8Array(this.#free.pop() ?? new ArrayBuffer(bufferBytes), 0, length);
  }

  /** What to call once the message has left; nothing for one whose memory is not kept. */
  giveBack({ buffer, length }: Uint8Array): (() => void) | undefined {
    if (length < minPooledBytes || length > bufferBytes) return undefined;
    return () => {
      if (this.#free.length < maxKept) this.#free.push(buffer as ArrayBuffer);
      else (buffer as ArrayBuffer).transfer(0);
    };
  }
}
