/** Reads the messages of a WebSocket (RFC 6455 section 5) out of the bytes of its connection. */
import { freeCallback } from "../bytes/bytes.ts";
import { Shares } from "../bytes/shares.ts";
import {
  applyMask,
  Bit,
  CloseStatus,
  Extended,
  isCloseCode,
  maskBytes,
  maxControlBytes,
  maxHeaderBytes,
  Opcode,
  WebSocketError,
} from "./frame.ts";

/** What a {@link MessageReader} finds. */
export interface MessageEvents {
  /** `bytes` is the length of its UTF-8. */
  text(message: string, bytes: number): void;
  /** @param free Frees the message's memory, where that can be done; to be called or not. */
  binary(message: Uint8Array, free?: () => void): void;
  /**
   * Asked for a binary message in one frame that has not come whole; `first` is what has come of it.
   *
   * @returns whether `part` is to get it as it comes, instead of `binary` getting it whole
   */
  begins?(first: Uint8Array, length: number): boolean;
  /** @param free As for `binary`. */
  part?(bytes: Uint8Array, isLast: boolean, free?: () => void): void;
  /** A Ping has come. The host answers it with a Pong of the same payload. */
  ping(payload: Uint8Array): void;
  pong?(): void;
  /** A fragment without a byte and without an end: nothing but work, like a control frame. */
  emptyFragment?(): void;
  /** Nothing follows it. `code` is {@link CloseStatus.None} when there was none. */
  close(code: number, reason: string): void;
}

/** What a {@link MessageReader} reads. */
export interface MessageReaderOptions {
  /** Who sends: a client's frames must be masked, a server's must not (RFC 6455 section 5.1). */
  readonly sender: "client" | "server";
  /** The maximum size of one message, all its frames together. */
  readonly maxMessageBytes: number;
}

/** Puts messages together out of frames, in whatever pieces their bytes come. */
export class MessageReader {
  readonly #maxMessageBytes: number;
  readonly #isMasked: boolean;
  readonly #events: MessageEvents;
  /** A header that has begun. */
  readonly #header = new Uint8Array(maxHeaderBytes);
  #headerBytes = 0;
  readonly #mask = new Uint8Array(maskBytes);
  /** Bytes of the payload that have been unmasked. */
  #maskOffset = 0;
  #length = 0;
  #opcode = 0;
  #isFinal = false;
  /** The frame's bytes are handed on as they come. */
  #isInParts = false;
  /** Bytes of the frame that are still to come; undefined in front of and inside a header. */
  #left: number | undefined;
  #pieces = new Pieces();
  #message: { opcode: number; pieces: Pieces; bytes: number } | undefined;
  #isClosed = false;
  /** Who uses what is being read. */
  #shares: Shares | undefined;

  constructor({ sender, maxMessageBytes }: MessageReaderOptions, events: MessageEvents) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#isMasked = sender === "client";
    this.#events = events;
  }

  /** Reads nothing more: what follows is dropped. */
  stop(): void {
    this.#isClosed = true;
    this.#message = undefined;
    this.#pieces = new Pieces();
  }

  /**
   * Reads on. What follows a Close is dropped.
   *
   * @param bytes Unmasked in place, and kept as parts of messages: they belong to the reader, which
   *   frees them once they are copied or nobody uses a part of them any more.
   * @throws {WebSocketError}
   */
  receive(bytes: Uint8Array): void {
    const shares = this.#shares = Shares.of(bytes);
    let at = 0;
    while (at < bytes.length && !this.#isClosed) {
      if (this.#left === undefined) at = this.#readHeader(bytes, at);
      else at = this.#readPayload(bytes, at, this.#left);
      if (this.#left === 0) this.#frameEnded();
    }
    shares?.release();
  }

  #readHeader(bytes: Uint8Array, start: number): number {
    const header = this.#header;
    let at = start;
    while (at < bytes.length) {
      header[this.#headerBytes++] = bytes[at++]!;
      if (this.#headerBytes < 2) continue;
      if (this.#headerBytes === 2) this.#checkStart(header[0]!, header[1]!);
      const short = header[1]! & Bit.Length;
      const extended = short === Extended.Bits64 ? 8 : short === Extended.Bits16 ? 2 : 0;
      if (this.#headerBytes < 2 + extended) continue;
      // The length is checked before a key is waited for.
      if (this.#headerBytes === 2 + extended) this.#length = this.#lengthOf(short, extended);
      if (this.#headerBytes < 2 + extended + (this.#isMasked ? maskBytes : 0)) continue;
      this.#begin(this.#length);
      break;
    }
    return at;
  }

  /** The first two bytes say all that can be wrong besides the length. */
  #checkStart(first: number, second: number): void {
    const opcode = first & 0x0f;
    const isFinal = (first & Bit.Fin) !== 0;
    if (first & Bit.Reserved) throw protocolError("A reserved bit is set");
    const isMasked = (second & Bit.Masked) !== 0;
    if (isMasked && !this.#isMasked) throw protocolError("A server's frame is masked");
    if (!isMasked && this.#isMasked) throw protocolError("A client's frame is not masked");
    if (opcode >= Opcode.Close) {
      if (opcode > Opcode.Pong) throw protocolError("Unknown control frame");
      if (!isFinal) throw protocolError("A control frame is fragmented");
      if ((second & Bit.Length) > maxControlBytes) {
        throw protocolError("A control frame is too long");
      }
    } else if (opcode > Opcode.Binary) throw protocolError("Unknown data frame");
    else if (opcode === Opcode.Continuation && !this.#message) {
      throw protocolError("A continuation frame continues no message");
    } else if (opcode !== Opcode.Continuation && this.#message) {
      throw protocolError("A new message begins before the last one has ended");
    }
    this.#opcode = opcode;
    this.#isFinal = isFinal;
  }

  #lengthOf(short: number, extended: number): number {
    const length = extended === 0 ? short : this.#extendedLength(extended);
    if (this.#opcode >= Opcode.Close) return length;
    const before = this.#message?.bytes ?? 0;
    if (before + length <= this.#maxMessageBytes) return length;
    const message = `A message is over ${this.#maxMessageBytes} bytes`;
    throw new WebSocketError(CloseStatus.TooBig, message);
  }

  #extendedLength(count: number): number {
    let length = 0;
    for (let at = 2; at < 2 + count; at++) length = length * 256 + this.#header[at]!;
    const least = count === 2 ? Extended.Bits16 : 0x10000;
    if (length < least) throw protocolError("A length is not in its shortest form");
    return length;
  }

  /** A frame's payload begins. */
  #begin(length: number): void {
    if (this.#isMasked) {
      this.#mask.set(this.#header.subarray(this.#headerBytes - maskBytes, this.#headerBytes));
      this.#maskOffset = 0;
    }
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
    this.#pieces = message.pieces;
    if (length === 0 && !this.#isFinal) this.#events.emptyFragment?.();
  }

  #readPayload(bytes: Uint8Array, start: number, left: number): number {
    const end = Math.min(bytes.length, start + left);
    const piece = bytes.subarray(start, end);
    if (this.#isMasked) {
      applyMask(piece, this.#mask, this.#maskOffset);
      this.#maskOffset += piece.length;
    }
    this.#left = left - piece.length;
    if (left === this.#length) this.#isInParts = this.#isWantedInParts(piece);
    if (this.#isInParts) this.#events.part?.(piece, this.#left === 0, this.#shares?.take());
    else this.#pieces.push(piece, this.#shares);
    return end;
  }

  /** @param first What has come of the frame that begins. */
  #isWantedInParts(first: Uint8Array): boolean {
    if (this.#left === 0 || this.#opcode !== Opcode.Binary || !this.#isFinal) return false;
    return this.#events.begins?.(first, this.#length) ?? false;
  }

  #frameEnded(): void {
    this.#left = undefined;
    if (this.#isInParts) {
      this.#isInParts = false;
      this.#message = undefined;
      return;
    }
    if (this.#opcode >= Opcode.Close) {
      return this.#control(this.#opcode, this.#pieces.join().bytes);
    }
    if (!this.#isFinal) return;
    const { opcode, pieces } = this.#message!;
    this.#message = undefined;
    const { bytes, free } = pieces.join();
    if (opcode === Opcode.Text) this.#events.text(decodeText(bytes), bytes.length);
    else this.#events.binary(bytes, free);
  }

  #control(opcode: number, payload: Uint8Array): void {
    if (opcode === Opcode.Ping) return this.#events.ping(payload);
    if (opcode === Opcode.Pong) return this.#events.pong?.();
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
  /** Release what pieces are parts of. */
  readonly #frees: (() => void)[] = [];
  /** Holds small pieces, up to `#used`. */
  #buffer: Uint8Array = new Uint8Array(0);
  #used = 0;
  #isEmpty = true;

  /** @param shares Of the memory that the bytes are a part of. */
  push(bytes: Uint8Array, shares: Shares | undefined): void {
    if (bytes.length === 0) return;
    // Most messages are one piece, which needs no copy.
    if (this.#isEmpty || bytes.length >= smallPieceBytes) {
      this.#flush();
      this.#pieces.push(bytes);
      if (shares) this.#frees.push(shares.take());
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

  /** All of them, and what frees their memory; the last call. */
  join(): { bytes: Uint8Array; free: (() => void) | undefined } {
    this.#flush();
    const pieces = this.#pieces;
    if (pieces.length === 1) return { bytes: pieces[0]!, free: this.#frees[0] };
    const joined = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let offset = 0;
    for (const piece of pieces) {
      joined.set(piece, offset);
      offset += piece.length;
    }
    for (const free of this.#frees) free();
    return { bytes: joined, free: freeCallback(joined) };
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
