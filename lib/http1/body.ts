/** Bodies of HTTP/1.1 messages: how they are framed, and where they end (RFC 9112 sections 6, 7). */
import { allocate, encodeLatin1 } from "../bytes/bytes.ts";
import { type Field, HeadError, type RequestHead, type ResponseHead } from "./head.ts";

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

/** A body broke its framing. The connection that it came on can't be used any more. */
export class BodyError extends Error {
  override readonly name = "BodyError";
}

/**
 * How a request's body is framed. What could be read in two ways is refused: both lengths, repeated
 * lengths, a coding other than chunked, a coding in HTTP/1.0.
 *
 * @throws {HeadError} 400, or 501 for a transfer coding other than chunked.
 */
export function requestFraming(head: RequestHead): Framing {
  return declaredFraming(head) ?? none;
}

/**
 * How a response's body is framed, given the method that it answers. The same strictness.
 *
 * @throws {HeadError}
 */
export function responseFraming(head: ResponseHead, method: string): Framing {
  const declared = declaredFraming(head);
  if (method === "HEAD" || head.status === 204 || head.status === 304) return none;
  if (head.status < 200) return none;
  return declared ?? untilClose;
}

function declaredFraming(head: { minor: number; fields: readonly Field[] }): Framing | undefined {
  let coding: string | undefined;
  let length: string | undefined;
  for (const { key, value } of head.fields) {
    if (key === "transfer-encoding") {
      if (coding !== undefined) throw new HeadError(400, "Transfer-Encoding came twice");
      coding = value;
    } else if (key === "content-length") {
      if (length !== undefined) throw new HeadError(400, "Content-Length came twice");
      length = value;
    }
  }
  if (coding !== undefined) return codedFraming(coding, length, head.minor);
  if (length === undefined) return undefined;
  // 15 digits are exact as a number and more than any body has.
  if (!/^\d{1,15}$/.test(length)) throw new HeadError(400, "Content-Length is not a number");
  const bytes = Number(length);
  return bytes === 0 ? none : { kind: "length", bytes };
}

function codedFraming(coding: string, length: string | undefined, minor: number): Framing {
  if (length !== undefined) {
    throw new HeadError(400, "Both Transfer-Encoding and Content-Length are there");
  }
  if (minor === 0) throw new HeadError(400, "Transfer-Encoding in HTTP/1.0");
  if (coding.toLowerCase() !== "chunked") {
    throw new HeadError(501, "Transfer-Encoding is not supported; must be chunked");
  }
  return chunked;
}

/** States of the chunked coding, in the order in which a body goes through them. */
const Chunk = {
  SizeStart: 0,
  Size: 1,
  Extension: 2,
  SizeEnd: 3,
  Data: 4,
  DataCr: 5,
  DataLf: 6,
  TrailerStart: 7,
  Trailer: 8,
  TrailerLf: 9,
  EndLf: 10,
} as const;

/** Hex digits of a chunk's size: 13 are 52 bits, exact as a number. */
const maxSizeDigits = 13;
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
  #left = 0;
  #state: number = Chunk.SizeStart;
  #digits = 0;
  #metadataBytes = 0;

  constructor(framing: Framing) {
    this.framing = framing;
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
        this.#step(bytes[at++]!);
      }
    }
    return at;
  }

  /** One byte of everything that is not content. */
  #step(byte: number): void {
    switch (this.#state) {
      case Chunk.SizeStart:
      case Chunk.Size:
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
        return;
      default:
        return this.#stepTrailer(byte);
    }
  }

  #stepSize(byte: number): void {
    const digit = hexValue(byte);
    if (digit !== -1) {
      if (++this.#digits > maxSizeDigits) throw new BodyError("Chunk size is too large");
      this.#left = this.#left * 16 + digit;
      this.#state = Chunk.Size;
    } else if (this.#state === Chunk.Size && byte === cr) {
      this.#state = Chunk.SizeEnd;
    } else if (this.#state === Chunk.Size && byte === 0x3b) {
      this.#state = Chunk.Extension;
    } else {
      throw new BodyError("Chunk size is not a hexadecimal number");
    }
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
      throw new BodyError("Chunk extension or trailer holds a control character");
    }
    if (++this.#metadataBytes > maxMetadataBytes) {
      throw new BodyError(`Chunk extensions and trailers are over ${maxMetadataBytes} bytes`);
    }
  }
}

function expect(byte: number, wanted: number): void {
  if (byte !== wanted) throw new BodyError("Chunk does not end with CRLF");
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
