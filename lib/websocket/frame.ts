/**
 * Frames of RFC 6455, as pure functions over bytes; `message_reader.ts` reads them. There are no
 * extensions: an endpoint that uses these functions must not negotiate any.
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

/** The largest payload of a control frame, in bytes (RFC 6455 section 5.5). */
export const maxControlBytes = 125;
/** Bits and values of a frame's first two bytes (RFC 6455 section 5.2). */
export const Bit = { Fin: 0x80, Reserved: 0x70, Masked: 0x80, Length: 0x7f } as const;
/** The length field's values that announce a longer one behind it. */
export const Extended = { Bits16: 126, Bits64: 127 } as const;
/** Bytes of a masking key (RFC 6455 section 5.3). */
export const maskBytes = 4;
/** The longest frame header, in bytes: two, a length of 64 bits, and a masking key. */
export const maxHeaderBytes = 14;

/** The peer broke the protocol or a limit; `code` is what its Close is answered with. */
export class WebSocketError extends Error {
  override readonly name = "WebSocketError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Bytes of the header in front of a payload. */
function headerBytes(length: number, isMasked: boolean): number {
  const extended = length < Extended.Bits16 ? 0 : length <= 0xffff ? 2 : 8;
  return 2 + extended + (isMasked ? maskBytes : 0);
}

/**
 * Writes the header of an unfragmented frame in front of its payload, and masks the payload in place.
 *
 * @param end Where the payload begins; {@link maxHeaderBytes} in front of it are enough.
 * @param mask The masking key of a client's frame: four bytes that nobody can foresee, or zeros,
 * which leave the payload as it is. Servers send none.
 * @returns where the header begins
 */
export function writeFrameHeader(
  memory: Uint8Array,
  end: number,
  opcode: number,
  mask?: Uint8Array,
): number {
  const length = memory.length - end;
  const start = end - headerBytes(length, mask !== undefined);
  const lengthEnd = mask ? end - maskBytes : end;
  memory[start] = Bit.Fin | opcode;
  const extended = lengthEnd - start - 2;
  const short = extended === 0 ? length : extended === 2 ? Extended.Bits16 : Extended.Bits64;
  memory[start + 1] = mask ? Bit.Masked | short : short;
  // Lengths are exact as numbers: none is over 2^53.
  let rest = length;
  for (let at = lengthEnd - 1; at > start + 1; at--) {
    memory[at] = rest;
    rest = Math.floor(rest / 256);
  }
  if (!mask) return start;
  memory.set(mask, lengthEnd);
  applyMask(memory.subarray(end), mask);
  return start;
}

/**
 * A whole frame.
 *
 * @param mask As for {@link writeFrameHeader}.
 */
export function encodeFrame(opcode: number, payload: Uint8Array, mask?: Uint8Array): Uint8Array {
  const end = headerBytes(payload.length, mask !== undefined);
  const frame = allocate(end + payload.length);
  frame.set(payload, end);
  writeFrameHeader(frame, end, opcode, mask);
  return frame;
}

/**
 * Masks or unmasks bytes in place (RFC 6455 section 5.3).
 *
 * @param offset How many bytes of the payload came before these.
 */
export function applyMask(bytes: Uint8Array, mask: Uint8Array, offset = 0): void {
  if ((mask[0]! | mask[1]! | mask[2]! | mask[3]!) === 0) return;
  // Words where they are aligned, four bytes at a time; the ends by themselves.
  const lead = Math.min(bytes.length, -bytes.byteOffset & 3);
  const words = (bytes.length - lead) >>> 2;
  xorBytes(bytes, 0, lead, mask, offset);
  if (words > 0) {
    const key = wordOf(mask, offset + lead);
    const view = new Uint32Array(bytes.buffer, bytes.byteOffset + lead, words);
    for (let at = 0; at < words; at++) view[at]! ^= key;
  }
  xorBytes(bytes, lead + words * 4, bytes.length, mask, offset);
}

function xorBytes(
  bytes: Uint8Array,
  from: number,
  to: number,
  mask: Uint8Array,
  offset: number,
): void {
  for (let at = from; at < to; at++) bytes[at]! ^= mask[(offset + at) & 3]!;
}

/** Four bytes of the repeated key as a word of this machine. */
function wordOf(mask: Uint8Array, offset: number): number {
  const bytes = Uint8Array.from({ length: 4 }, (_, at) => mask[(offset + at) & 3]!);
  return new Uint32Array(bytes.buffer)[0]!;
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
