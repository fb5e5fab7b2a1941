/**
 * Contents for the interop tests: large ones are reproducible, different in every part, and compared
 * by checksum, so that a lost, repeated or swapped piece shows.
 */
import { createHash } from "node:crypto";
import { type ByteReader, concatBytes } from "../support/byte_reader.ts";

/** Size of the pieces in which a bulk transfer is written. */
export const BULK_CHUNK_BYTES = 64 * 1024;

/** `length` bytes of a fixed pseudo-random sequence (xorshift32) that starts at `seed`. */
export function bulkBytes(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** The SHA-256 of `bytes`, in hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A content of `chunks` × 64 KiB, never whole in memory. */
export class BulkContent {
  /** Its length in bytes. */
  readonly length: number;
  /** Its SHA-256, in hexadecimal. */
  readonly checksum: string;
  readonly #base = bulkBytes(BULK_CHUNK_BYTES);
  readonly #chunks: number;

  constructor(chunks: number) {
    this.#chunks = chunks;
    this.length = chunks * BULK_CHUNK_BYTES;
    const hash = createHash("sha256");
    for (const chunk of this) hash.update(chunk);
    this.checksum = hash.digest("hex");
  }

  /** The chunks in order; each is a copy, with its number at its start. */
  *[Symbol.iterator](): Generator<Uint8Array<ArrayBuffer>> {
    for (let index = 0; index < this.#chunks; index++) {
      const chunk = this.#base.slice();
      new DataView(chunk.buffer).setUint32(0, index);
      yield chunk;
    }
  }
}

/** Reads `source` to its end and returns the length and SHA-256 of what came. */
export async function digestOf(
  source: AsyncIterable<Uint8Array>,
): Promise<{ length: number; checksum: string }> {
  const hash = createHash("sha256");
  let length = 0;
  for await (const chunk of source) {
    hash.update(chunk);
    length += chunk.length;
  }
  return { length, checksum: hash.digest("hex") };
}

/** The next `length` bytes of a reader, in chunks; throws when there are fewer. */
export async function* taking(reader: ByteReader, length: number): AsyncGenerator<Uint8Array> {
  for (let left = length; left > 0;) {
    const chunk = await reader.readExactly(Math.min(left, BULK_CHUNK_BYTES));
    left -= chunk.length;
    yield chunk;
  }
}

/** A response of status 200 with this content and its length, after which the target stays open. */
export function okWith(body: Uint8Array | string): Uint8Array {
  const encoder = new TextEncoder();
  const bytes = typeof body === "string" ? encoder.encode(body) : body;
  return concatBytes([
    encoder.encode(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`),
    bytes,
  ]);
}
