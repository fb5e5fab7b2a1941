/**
 * The frame codec: pure functions over bytes, no input or output.
 *
 * A message of the WebSocket is one frame, `[type:1][stream:4 big-endian][payload]`, or, in version
 * 2, one Batch of frames. The order of the constants is that of docs/protocol.md.
 */
import { allocate, noBytes } from "../bytes/bytes.ts";
import { ExcessError, ProtocolError } from "./errors.ts";

/** Frame types; 0x01 to 0x07 are version 1, the rest version 2. */
export const FrameType = {
  Connect: 0x01,
  Connected: 0x02,
  Data: 0x03,
  Error: 0x04,
  Close: 0x05,
  Ping: 0x06,
  Pong: 0x07,
  Settings: 0x08,
  Credit: 0x09,
  End: 0x0a,
  Open: 0x0b,
  Batch: 0x0c,
  Drain: 0x0d,
  Return: 0x10,
  Announce: 0x11,
  Notice: 0x12,
} as const;

/** Bytes of a frame's header: its type and its stream. */
export const headerBytes = 5;
/** Bytes of the length in front of each frame of a Batch. */
export const batchLengthBytes = 4;
/** The largest message that a version 1 peer takes. */
export const maxMessageBytes = 16 * 1024 * 1024;
/** The largest message of a version 2 session, once both sides have sent their Settings. */
export const maxVersion2MessageBytes = 1024 * 1024;
/**
 * The most frames of one message that are taken. Earlier releases close a message at 64 KiB of
 * frames without counting the lengths in front of them, so it has at most 13,108 of theirs.
 */
export const maxMessageFrames = 16_384;
/** The most frames that this side puts into one message. */
export const maxSentMessageFrames = 1_024;
/** The largest stream id: ids are 32 bits. */
export const maxStreamId = 0xffffffff;

const frameNames = new Map<number, string>(
  Object.entries(FrameType).map(([name, type]) => [type, name]),
);

/** The name of a frame type, for logs: `Data`, or `0x7f` for one that this version doesn't know. */
export function frameName(type: number): string {
  return frameNames.get(type) ?? `0x${type.toString(16).padStart(2, "0")}`;
}

/** Writes a frame's header at `offset` and returns the offset behind it. */
export function writeHeader(
  into: Uint8Array,
  offset: number,
  type: number,
  stream: number,
): number {
  into[offset] = type;
  return writeUint32(into, offset + 1, stream);
}

/** Writes 32 bits, big-endian, and returns the offset behind them. */
export function writeUint32(into: Uint8Array, offset: number, value: number): number {
  into[offset] = value >>> 24;
  into[offset + 1] = value >>> 16;
  into[offset + 2] = value >>> 8;
  into[offset + 3] = value;
  return offset + 4;
}

/** Reads 32 bits, big-endian. The caller has checked that they are there. */
export function readUint32(from: Uint8Array, offset: number): number {
  return ((from[offset]! << 24) | (from[offset + 1]! << 16) | (from[offset + 2]! << 8) |
    from[offset + 3]!) >>> 0;
}

/** Writes a whole frame at `offset` and returns the offset behind it. */
export function writeFrame(
  into: Uint8Array,
  offset: number,
  type: number,
  stream: number,
  payload: Uint8Array,
): number {
  const start = writeHeader(into, offset, type, stream);
  into.set(payload, start);
  return start + payload.length;
}

/** One frame as a message of its own. */
export function encodeFrame(
  type: number,
  stream: number,
  payload: Uint8Array = noBytes,
): Uint8Array {
  const message = allocate(headerBytes + payload.length);
  writeFrame(message, 0, type, stream, payload);
  return message;
}

/** What {@link FrameWalk} calls for each frame; the payload is a view into the message. */
export type FrameVisitor = (type: number, stream: number, payload: Uint8Array) => void;

/**
 * Walks the frames of one message in order; a Batch is opened, others are passed on as they are.
 *
 * The walk can be made in steps, so that a message of many frames does not take a whole turn of the
 * event loop. Every declared length is checked against what is there before it is used.
 */
export class FrameWalk {
  readonly #message: Uint8Array;
  #offset = 0;
  #frames = 0;

  constructor(message: Uint8Array) {
    this.#message = message;
  }

  /** Whether all frames have been visited, or {@link stop} was called. */
  get isOver(): boolean {
    return this.#offset === this.#message.length && this.#frames > 0;
  }

  /** Ends the walk; no other frame is visited, not even of the step that is under way. */
  stop(): void {
    this.#offset = this.#message.length;
    this.#frames ||= 1;
  }

  /**
   * Visits the next frames.
   *
   * @param maxFrames The most that are visited in this step.
   * @returns how many were visited.
   * @throws {ProtocolError} for a message that is no frame, and for a Batch that is cut short, empty
   *   or nested. Frames in front of the broken part have been visited by then.
   * @throws {ExcessError} for a Batch of more than {@link maxMessageFrames} frames.
   */
  step(visit: FrameVisitor, maxFrames = Infinity): number {
    if (this.isOver) return 0;
    const message = this.#message;
    if (this.#offset === 0) {
      if (message.length < headerBytes) {
        throw new ProtocolError(`Message of ${message.length} bytes is too short for a frame`);
      }
      if (message[0] !== FrameType.Batch) {
        this.#visitAlone(visit);
        return 1;
      }
      this.#beginBatch();
    }
    let frames = 0;
    for (; frames < maxFrames && !this.isOver; frames++) this.#visitNext(visit);
    return frames;
  }

  #visitAlone(visit: FrameVisitor): void {
    const message = this.#message;
    this.stop();
    visit(message[0]!, readUint32(message, 1), message.subarray(headerBytes));
  }

  #beginBatch(): void {
    const stream = readUint32(this.#message, 1);
    if (stream !== 0) throw new ProtocolError(`Batch on stream ${stream}; must be on stream 0`);
    this.#offset = headerBytes;
    if (this.#offset === this.#message.length) throw new ProtocolError("Batch holds no frame");
  }

  #visitNext(visit: FrameVisitor): void {
    const message = this.#message;
    let offset = this.#offset;
    if (message.length - offset < batchLengthBytes) {
      throw new ProtocolError("Batch is cut short in a length");
    }
    const length = readUint32(message, offset);
    offset += batchLengthBytes;
    if (length < headerBytes || length > message.length - offset) {
      throw new ProtocolError(
        `Batch declares a frame of ${length} bytes where ${message.length - offset} follow`,
      );
    }
    const type = message[offset]!;
    if (type === FrameType.Batch) throw new ProtocolError("Batch inside a Batch");
    if (++this.#frames > maxMessageFrames) {
      throw new ExcessError(`Batch of more than ${maxMessageFrames} frames`);
    }
    const end = offset + length;
    // Before the visit, which may stop the walk.
    this.#offset = end;
    visit(type, readUint32(message, offset + 1), message.subarray(offset + headerBytes, end));
  }
}

/** Walks all frames of one message. @throws as {@link FrameWalk.step}. */
export function decodeMessage(message: Uint8Array, visit: FrameVisitor): void {
  new FrameWalk(message).step(visit);
}

/**
 * The payload of Open without its first bytes: `[targetLength:2][target]`.
 *
 * @throws {RangeError} for a target whose UTF-8 is longer than 65,535 bytes.
 */
export function encodeTarget(target: string): Uint8Array {
  const text = new TextEncoder().encode(target);
  if (text.length > 0xffff) throw new RangeError("Target is longer than 65,535 bytes");
  const bytes = new Uint8Array(2 + text.length);
  bytes[0] = text.length >>> 8;
  bytes[1] = text.length;
  bytes.set(text, 2);
  return bytes;
}

/** Splits the payload of Open. @throws {ProtocolError} where the target is cut short. */
export function decodeOpen(payload: Uint8Array): { target: Uint8Array; first: Uint8Array } {
  if (payload.length < 2) throw new ProtocolError("Open has no target length");
  const end = 2 + ((payload[0]! << 8) | payload[1]!);
  if (end > payload.length) throw new ProtocolError("Open is cut short in its target");
  return { target: payload.subarray(2, end), first: payload.subarray(end) };
}

/**
 * The bytes that a Credit grants, or a Return gives back.
 *
 * @throws {ProtocolError} unless it is a positive uint32.
 */
export function decodeCredit(payload: Uint8Array, name = "Credit"): number {
  if (payload.length !== 4) {
    throw new ProtocolError(`${name} of ${payload.length} bytes; must be 4`);
  }
  const credit = readUint32(payload, 0);
  if (credit === 0) throw new ProtocolError(`${name} of zero bytes`);
  return credit;
}
