/**
 * The client's side of RFC 6455, as pure functions over bytes: frames that it sends, messages out of
 * frames that it gets. No extensions: whoever uses it must not offer any.
 */
import { allocate } from "../bytes/bytes.ts";

/** Kinds of frames (RFC 6455 section 5.2). */
export const Opcode = {
  Continuation: 0x0,
  Text: 0x1,
  Binary: 0x2,
  Close: 0x8,
  Ping: 0x9,
  Pong: 0xa,
} as const;

/** Close codes that this side uses (RFC 6455 section 7.4.1). */
export const CloseStatus = {
  Normal: 1000,
  ProtocolError: 1002,
  /** Stands for a Close without a code; never sent. */
  None: 1005,
  /** Stands for a connection that broke; never sent. */
  Abnormal: 1006,
  InvalidText: 1007,
  TooBig: 1009,
  InternalError: 1011,
  TryAgainLater: 1013,
} as const;

/** Payload of a control frame at the most (RFC 6455 section 5.5). */
const maxControlBytes = 125;
const fin = 0x80;
const reserved = 0x70;
const masked = 0x80;
const length16 = 126;
const length64 = 127;

/** The peer broke the protocol or a limit; `code` is what its Close is answered with. */
export class WebSocketError extends Error {
  override readonly name = "WebSocketError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * A whole frame, masked as a client's must be (RFC 6455 section 5.3).
 *
 * @param key Four bytes that nobody can foresee.
 */
export function encodeFrame(opcode: number, payload: Uint8Array, key: Uint8Array): Uint8Array {
  const { length } = payload;
  const extended = length < length16 ? 0 : length <= 0xffff ? 2 : 8;
  const frame = allocate(2 + extended + 4 + length);
  frame[0] = fin | opcode;
  frame[1] = masked | (extended === 0 ? length : extended === 2 ? length16 : length64);
  // Lengths are exact as numbers: none is over 2^53.
  let rest = length;
  for (let at = 1 + extended; at > 1; at--) {
    frame[at] = rest;
    rest = Math.floor(rest / 256);
  }
  const start = 2 + extended;
  frame.set(key, start);
  for (let at = 0; at < length; at++) frame[start + 4 + at] = payload[at]! ^ key[at & 3]!;
  return frame;
}

/** The payload of a Close: nothing for {@link CloseStatus.None}. The reason is cut to what fits. */
export function encodeClose(code: number, reason: string): Uint8Array {
  if (code === CloseStatus.None) return new Uint8Array(0);
  const payload = new Uint8Array(maxControlBytes);
  payload[0] = code >>> 8;
  payload[1] = code;
  // `encodeInto` never writes half a character.
  const { written } = new TextEncoder().encodeInto(reason, payload.subarray(2));
  return payload.subarray(0, 2 + written);
}

/** Whether a code may stand in a Close (RFC 6455 section 7.4). */
export function isCloseCode(code: number): boolean {
  if (code >= 3000 && code < 5000) return true;
  return code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code);
}

/** What a {@link MessageReader} finds. */
export interface MessageEvents {
  /** `bytes` is the length of its UTF-8. */
  text(message: string, bytes: number): void;
  binary(message: Uint8Array): void;
  /** To be answered with a Pong of the same payload. */
  ping(payload: Uint8Array): void;
  /** Nothing follows it. `code` is {@link CloseStatus.None} when there was none. */
  close(code: number, reason: string): void;
}

/** Puts messages together out of a server's frames, in whatever pieces their bytes come. */
export class MessageReader {
  readonly #maxMessageBytes: number;
  readonly #events: MessageEvents;
  /** A header that has begun: 10 bytes at the most, as a server's frames are not masked. */
  readonly #header = new Uint8Array(10);
  #headerBytes = 0;
  #opcode = 0;
  #isFinal = false;
  /** Bytes of the frame that are still to come; undefined in front of and inside a header. */
  #left: number | undefined;
  #pieces = new Pieces();
  #message: { opcode: number; pieces: Pieces; bytes: number } | undefined;
  #isClosed = false;

  /** @param maxMessageBytes Of one message, all its frames together. */
  constructor(maxMessageBytes: number, events: MessageEvents) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#events = events;
  }

  /** Reads on. What follows a Close is dropped. @throws {WebSocketError} */
  receive(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && !this.#isClosed) {
      if (this.#left === undefined) at = this.#readHeader(bytes, at);
      else at = this.#readPayload(bytes, at, this.#left);
      if (this.#left === 0) this.#frameEnded();
    }
  }

  #readHeader(bytes: Uint8Array, start: number): number {
    let at = start;
    while (at < bytes.length) {
      this.#header[this.#headerBytes++] = bytes[at++]!;
      if (this.#headerBytes < 2) continue;
      const short = this.#header[1]!;
      if (this.#headerBytes === 2) this.#checkStart(this.#header[0]!, short);
      const extended = short === length64 ? 8 : short === length16 ? 2 : 0;
      if (this.#headerBytes < 2 + extended) continue;
      this.#begin(extended === 0 ? short : this.#extendedLength(extended));
      break;
    }
    return at;
  }

  /** The first two bytes say all that can be wrong besides the length. */
  #checkStart(first: number, second: number): void {
    const opcode = first & 0x0f;
    const isFinal = (first & fin) !== 0;
    if (first & reserved) throw protocolError("A reserved bit is set");
    if (second & masked) throw protocolError("A server's frame is masked");
    if (opcode >= Opcode.Close) {
      if (opcode > Opcode.Pong) throw protocolError("Unknown control frame");
      if (!isFinal) throw protocolError("A control frame is fragmented");
      if (second > maxControlBytes) throw protocolError("A control frame is too long");
    } else if (opcode > Opcode.Binary) throw protocolError("Unknown data frame");
    else if (opcode === Opcode.Continuation && !this.#message) {
      throw protocolError("A continuation of nothing");
    } else if (opcode !== Opcode.Continuation && this.#message) {
      throw protocolError("A new message inside another");
    }
    this.#opcode = opcode;
    this.#isFinal = isFinal;
  }

  #extendedLength(count: number): number {
    let length = 0;
    for (let at = 2; at < 2 + count; at++) length = length * 256 + this.#header[at]!;
    const least = count === 2 ? length16 : 0x10000;
    if (length < least) throw protocolError("A length is not in its shortest form");
    return length;
  }

  /** A frame's payload begins. Its length is checked before anything is kept. */
  #begin(length: number): void {
    this.#headerBytes = 0;
    this.#left = length;
    if (this.#opcode >= Opcode.Close) {
      this.#pieces = new Pieces();
      return;
    }
    if (this.#opcode !== Opcode.Continuation) {
      this.#message = { opcode: this.#opcode, pieces: new Pieces(), bytes: 0 };
    }
    const message = this.#message!;
    message.bytes += length;
    if (message.bytes > this.#maxMessageBytes) {
      throw new WebSocketError(
        CloseStatus.TooBig,
        `A message is over ${this.#maxMessageBytes} bytes`,
      );
    }
    this.#pieces = message.pieces;
  }

  #readPayload(bytes: Uint8Array, start: number, left: number): number {
    const end = Math.min(bytes.length, start + left);
    this.#pieces.push(bytes.subarray(start, end));
    this.#left = left - (end - start);
    return end;
  }

  #frameEnded(): void {
    this.#left = undefined;
    if (this.#opcode >= Opcode.Close) return this.#control(this.#opcode, this.#pieces.join());
    if (!this.#isFinal) return;
    const { opcode, pieces } = this.#message!;
    this.#message = undefined;
    const content = pieces.join();
    if (opcode === Opcode.Text) this.#events.text(decodeText(content), content.length);
    else this.#events.binary(content);
  }

  #control(opcode: number, payload: Uint8Array): void {
    if (opcode === Opcode.Ping) return this.#events.ping(payload);
    if (opcode === Opcode.Pong) return;
    this.#isClosed = true;
    if (payload.length === 0) return this.#events.close(CloseStatus.None, "");
    const code = payload.length === 1 ? 0 : payload[0]! * 256 + payload[1]!;
    if (!isCloseCode(code)) throw protocolError("A Close has no valid code");
    this.#events.close(code, decodeText(payload.subarray(2)));
  }
}

function protocolError(message: string): WebSocketError {
  return new WebSocketError(CloseStatus.ProtocolError, message);
}

/** A piece below this is copied together with others: each view costs about 180 bytes of memory. */
const smallPieceBytes = 1024;
/** What small pieces are copied into. */
const bufferBytes = 4096;

/** The bytes of one message, in as many pieces as they come. */
class Pieces {
  readonly #pieces: Uint8Array[] = [];
  /** Holds small pieces, up to `#used`. */
  #buffer: Uint8Array = new Uint8Array(0);
  #used = 0;
  #isEmpty = true;

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    // Most messages are one piece, which needs no copy.
    if (this.#isEmpty || bytes.length >= smallPieceBytes) {
      this.#flush();
      this.#pieces.push(bytes);
      this.#isEmpty = false;
      return;
    }
    if (bytes.length > this.#buffer.length - this.#used) {
      this.#flush();
      this.#buffer = new Uint8Array(bufferBytes);
    }
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** All of them; the last call. */
  join(): Uint8Array {
    this.#flush();
    const pieces = this.#pieces;
    if (pieces.length === 1) return pieces[0]!;
    const joined = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let offset = 0;
    for (const piece of pieces) {
      joined.set(piece, offset);
      offset += piece.length;
    }
    return joined;
  }

  /** What the buffer holds is a piece; what it has left takes the next small ones. */
  #flush(): void {
    if (this.#used === 0) return;
    this.#pieces.push(this.#buffer.subarray(0, this.#used));
    this.#buffer = this.#buffer.subarray(this.#used);
    this.#used = 0;
  }
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new WebSocketError(CloseStatus.InvalidText, "Text is not UTF-8");
  }
}
