/** Bodies of HTTP/1.1 messages: how they are framed, and where they end (RFC 9112 sections 6, 7). */
import { allocate, encodeLatin1 } from "../bytes/bytes.ts";
import { BodyError, bodyFaults, HeadError, headFaults } from "./faults.ts";
import type { Field, RequestHead, ResponseHead } from "./head.ts";

export { BodyError } from "./faults.ts";

/** How a body's end is known. */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" }
  /** Responses only: the body ends with the connection. */
  | { readonly kind: "close" };

const none: Framing = { kind: "none" };
const chunked: Framing = { kind: "chunked" };
const untilClose: Framing = { kind: "close" };

/**
 * How a request's body is framed. What could be read in two ways is refused: both lengths, repeated
 * lengths, a coding other than chunked, a coding in HTTP/1.0.
 *
 * @throws {HeadError} 400, or 501 for a transfer coding other than chunked.
 */
export function requestFraming(head: RequestHead): Framing {
  return declaredFraming(head, false) ?? none;
}

/**
 * How a response's body is framed, given the method that it answers. As strict, but for a length that
 * comes again with the same value, which targets send and everybody reads the same (RFC 9112 section
 * 6.3).
 *
 * @throws {HeadError}
 */
export function responseFraming(head: ResponseHead, method: string): Framing {
  const declared = declaredFraming(head, true);
  if (method === "HEAD" || head.status === 204 || head.status === 304) return none;
  if (head.status < 200) return none;
  return declared ?? untilClose;
}

/** @param mayRepeat Whether a length may come again with the same value. */
function declaredFraming(
  head: { minor: number; fields: readonly Field[] },
  mayRepeat: boolean,
): Framing | undefined {
  let coding: string | undefined;
  let length: string | undefined;
  for (const { key, value } of head.fields) {
    if (key === "transfer-encoding") {
      if (coding !== undefined) throw new HeadError(400, headFaults.codingTwice);
      coding = value;
    } else if (key === "content-length") {
      if (length !== undefined && !mayRepeat) throw new HeadError(400, headFaults.lengthTwice);
      if (length !== undefined && length !== value) {
        throw new HeadError(400, headFaults.lengthsDiffer);
      }
      length = value;
    }
  }
  if (coding !== undefined) return codedFraming(coding, length, head.minor);
  if (length === undefined) return undefined;
  // 15 digits are exact as a number and more than any body has.
  if (!/^\d{1,15}$/.test(length)) throw new HeadError(400, headFaults.length);
  const bytes = Number(length);
  return bytes === 0 ? none : { kind: "length", bytes };
}

/** Whether a length came more than once, so that the head must not go on as it is. */
export function repeatsLength({ fields }: { fields: readonly Field[] }): boolean {
  let count = 0;
  for (const { key } of fields) if (key === "content-length") count++;
  return count > 1;
}

/** The fields with their length once, where {@link responseFraming} has found all equal. */
export function withLengthOnce(fields: readonly Field[]): Field[] {
  const first = fields.find(({ key }) => key === "content-length");
  return fields.filter((item) => item.key !== "content-length" || item === first);
}

function codedFraming(coding: string, length: string | undefined, minor: number): Framing {
  if (length !== undefined) throw new HeadError(400, headFaults.both);
  if (minor === 0) throw new HeadError(400, headFaults.oldCoding);
  const lower = coding.toLowerCase();
  if (lower === "chunked") return chunked;
  const isTwice = /^chunked[ \t]*,[ \t]*chunked$/.test(lower);
  throw new HeadError(501, isTwice ? headFaults.chunkedTwice : headFaults.coding);
}

/** States of the chunked coding, in the order in which a body goes through them. */
const Chunk = {
  SizeStart: 0,
  Size: 1,
  Extension: 2,
  /** Blanks behind a size, which only a lenient scanner passes. */
  Blank: 3,
  SizeEnd: 4,
  Data: 5,
  DataCr: 6,
  DataLf: 7,
  TrailerStart: 8,
  Trailer: 9,
  TrailerLf: 10,
  EndLf: 11,
} as const;

/** Hex digits of a chunk's size, without zeros in front: 13 are 52 bits, exact as a number. */
const maxSizeDigits = 13;
/** Zeros in front of a chunk's size and blanks behind it, where they pass; more is no size. */
const maxPaddingBytes = 64;
/** Zeros in front of a size that go on: a strict reader takes them, with eight digits more. */
const passedZeros = maxSizeDigits - 8;
/** Bytes of all chunk extensions, and of all trailers, of one body. */
const maxMetadataBytes = 16 * 1024;

const cr = 13;
const lf = 10;

/**
 * Follows a body through the bytes of a connection and finds its end, whatever pieces it comes in.
 *
 * The bytes stay as they are; `onData` is told which of them are content, so that one caller can
 * pass a body on unchanged and another take it out of its chunks.
 */
export class BodyScanner {
  /** Whether the whole body has been seen. */
  isDone: boolean;
  /** Content bytes seen so far. */
  contentBytes = 0;
  readonly framing: Framing;
  readonly #isLenient: boolean;
  #left = 0;
  #state: number = Chunk.SizeStart;
  #digits = 0;
  #padding = 0;
  #metadataBytes = 0;
  /** Offsets, in the bytes of the last `scan`, of what is not to go on; see {@link clean}. */
  #dropped: number[] = [];

  /**
   * @param isLenient Whether blanks behind a chunk's size and any number of zeros in front of it pass:
   * targets send them, and everybody reads them the same. Never for requests. See {@link clean}.
   */
  constructor(framing: Framing, isLenient = false) {
    this.framing = framing;
    this.#isLenient = isLenient;
    this.isDone = framing.kind === "none";
    if (framing.kind === "length") this.#left = framing.bytes;
  }

  /**
   * Scans bytes from `start`.
   *
   * @param onData Called with the bounds of each piece of content.
   * @returns the offset behind the last byte that belongs to the body.
   * @throws {BodyError} where the chunked coding is broken.
   */
  scan(bytes: Uint8Array, start: number, onData?: (from: number, to: number) => void): number {
    if (this.#dropped.length > 0) this.#dropped = [];
    if (this.isDone) return start;
    if (this.framing.kind === "chunked") return this.#scanChunks(bytes, start, onData);
    const available = bytes.length - start;
    const length = this.framing.kind === "close" ? available : Math.min(available, this.#left);
    if (length > 0) {
      this.contentBytes += length;
      onData?.(start, start + length);
    }
    if (this.framing.kind === "length") {
      this.#left -= length;
      this.isDone = this.#left === 0;
    }
    return start + length;
  }

  /** Notes that the connection has ended; true when that is a proper end of this body. */
  ended(): boolean {
    if (this.framing.kind === "close") this.isDone = true;
    return this.isDone;
  }

  #scanChunks(
    bytes: Uint8Array,
    start: number,
    onData?: (from: number, to: number) => void,
  ): number {
    let at = start;
    while (at < bytes.length && !this.isDone) {
      if (this.#state === Chunk.Data) {
        const length = Math.min(bytes.length - at, this.#left);
        this.contentBytes += length;
        onData?.(at, at + length);
        this.#left -= length;
        at += length;
        if (this.#left === 0) this.#state = Chunk.DataCr;
      } else {
        const padding = this.#padding;
        this.#step(bytes[at++]!);
        if (this.#padding > padding && this.#isDropped) this.#dropped.push(at - 1);
      }
    }
    return at;
  }

  /**
   * Bytes of the last `scan` as the next program may have them: without what has been passed that a
   * strict one refuses.
   *
   * @param from Where in those bytes what is wanted begins; `to`, where it ends
   */
  clean(bytes: Uint8Array, from: number, to: number): Uint8Array {
    if (this.#dropped.length === 0) {
      return from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to);
    }
    const kept = allocate(to - from - this.#dropped.length);
    let at = from;
    let length = 0;
    for (const dropped of [...this.#dropped, to]) {
      kept.set(bytes.subarray(at, dropped), length);
      length += dropped - at;
      at = dropped + 1;
    }
    return kept;
  }

  /** One byte of everything that is not content. */
  #step(byte: number): void {
    switch (this.#state) {
      case Chunk.SizeStart:
      case Chunk.Size:
      case Chunk.Blank:
        return this.#stepSize(byte);
      case Chunk.Extension:
        if (byte === cr) this.#state = Chunk.SizeEnd;
        else this.#countMetadata(byte);
        return;
      case Chunk.SizeEnd:
        expect(byte, lf);
        this.#state = this.#left === 0 ? Chunk.TrailerStart : Chunk.Data;
        return;
      case Chunk.DataCr:
        expect(byte, cr);
        this.#state = Chunk.DataLf;
        return;
      case Chunk.DataLf:
        expect(byte, lf);
        this.#state = Chunk.SizeStart;
        this.#digits = 0;
        this.#padding = 0;
        return;
      default:
        return this.#stepTrailer(byte);
    }
  }

  #stepSize(byte: number): void {
    const digit = this.#state === Chunk.Blank ? -1 : hexValue(byte);
    const hasSize = this.#state !== Chunk.SizeStart;
    if (digit !== -1) {
      this.#addDigit(digit);
      this.#state = Chunk.Size;
    } else if (hasSize && byte === cr) {
      this.#state = Chunk.SizeEnd;
    } else if (hasSize && byte === 0x3b) {
      this.#state = Chunk.Extension;
    } else if (hasSize && this.#isLenient && (byte === 32 || byte === 9)) {
      this.#countPadding();
      this.#state = Chunk.Blank;
    } else {
      throw new BodyError(bodyFaults.size);
    }
  }

  #addDigit(digit: number): void {
    // Zeros in front add nothing, but they must not go on for ever.
    if (this.#isLenient && this.#left === 0 && digit === 0) this.#countPadding();
    else if (++this.#digits > maxSizeDigits) throw new BodyError(bodyFaults.sizeTooLarge);
    this.#left = this.#left * 16 + digit;
  }

  /** Whether the padding that was counted last must not go on. */
  get #isDropped(): boolean {
    return this.#state === Chunk.Blank || this.#padding > passedZeros;
  }

  #countPadding(): void {
    if (++this.#padding > maxPaddingBytes) throw new BodyError(bodyFaults.size);
  }

  #stepTrailer(byte: number): void {
    if (this.#state === Chunk.EndLf) {
      expect(byte, lf);
      this.isDone = true;
    } else if (this.#state === Chunk.TrailerLf) {
      expect(byte, lf);
      this.#state = Chunk.TrailerStart;
    } else if (byte === cr) {
      this.#state = this.#state === Chunk.TrailerStart ? Chunk.EndLf : Chunk.TrailerLf;
    } else {
      this.#countMetadata(byte);
      this.#state = Chunk.Trailer;
    }
  }

  #countMetadata(byte: number): void {
    if ((byte < 0x20 && byte !== 9) || byte === 0x7f) {
      throw new BodyError(bodyFaults.control);
    }
    if (++this.#metadataBytes > maxMetadataBytes) {
      throw new BodyError(bodyFaults.tooLong(maxMetadataBytes));
    }
  }
}

function expect(byte: number, wanted: number): void {
  if (byte !== wanted) throw new BodyError(bodyFaults.chunkEnd);
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Content as one chunk (RFC 9112 section 7.1). Empty content is no chunk: it would end the body. */
export function encodeChunk(content: Uint8Array): Uint8Array {
  if (content.length === 0) return content;
  const size = encodeLatin1(content.length.toString(16) + "\r\n");
  const chunk = allocate(size.length + content.length + 2);
  chunk.set(size);
  chunk.set(content, size.length);
  chunk[chunk.length - 2] = cr;
  chunk[chunk.length - 1] = lf;
  return chunk;
}

/** The end of a chunked body, without trailers. */
export const lastChunk: Uint8Array = encodeLatin1("0\r\n\r\n");
