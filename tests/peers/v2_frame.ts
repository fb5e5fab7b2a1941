/**
 * Frames of the tunnel protocol, version 2, for the test peers. Written from the protocol's text
 * alone and sharing no code with the product, so that both can only agree by following the text.
 *
 * A frame's header is that of version 1; a message is one frame, or a Batch of several.
 */
import { concatBytes } from "../support/byte_reader.ts";
import { decodeV1Frame, encodeV1Frame, V1, type V1Frame } from "./v1_frame.ts";

/** The frame types of version 2. */
export const V2 = {
  ...V1,
  /** Both sides, first, on stream 0; JSON. */
  settings: 0x08,
  /** Bytes that the other side may send on top of what it already may; uint32. */
  credit: 0x09,
  /** Half-close, with the last bytes or none. */
  end: 0x0a,
  /** Relay to agent: `[targetLength:2][target][first bytes]`. */
  open: 0x0b,
  /** On stream 0: `[length:4][frame]`, repeated. */
  batch: 0x0c,
  /** On stream 0. */
  drain: 0x0d,
  /** Agent to relay, on stream 0; JSON. */
  announce: 0x11,
  /** Relay to agent, on stream 0; JSON. */
  notice: 0x12,
} as const;

/** One frame of version 2. */
export type V2Frame = V1Frame;

/** What a side says in its Settings; both may say more. */
export interface V2Settings {
  readonly version: number;
  readonly window: number;
  readonly maxWindow: number;
  readonly maxFrame: number;
  readonly maxStreams: number;
  readonly instance: string;
  readonly software: string;
}

/** A peer's message that is no frame. */
export class V2FormatError extends Error {
  override name = "V2FormatError";
}

/** The name of a frame type, for messages. */
export function v2TypeName(type: number): string {
  const entry = Object.entries(V2).find(([, value]) => value === type);
  return entry?.[0] ?? `0x${type.toString(16).padStart(2, "0")}`;
}

/** The message that carries one frame. */
export function encodeV2Frame(type: number, streamId: number, payload?: Uint8Array): Uint8Array {
  return encodeV1Frame({ type, streamId, payload: payload ?? new Uint8Array(0) });
}

/** The message that carries several frames, each a message of {@link encodeV2Frame}. */
export function encodeV2Batch(frames: readonly Uint8Array[]): Uint8Array {
  const parts = frames.flatMap((frame) => [uint32(frame.length), frame]);
  return encodeV2Frame(V2.batch, 0, concatBytes(parts));
}

/** The frames of a message, in order. @throws {V2FormatError} */
export function decodeV2Message(message: Uint8Array): V2Frame[] {
  const frame = decodeV1Frame(message);
  if (!frame) throw new V2FormatError(`A message of ${message.length} bytes is no frame`);
  return frame.type === V2.batch ? decodeBatch(frame) : [frame];
}

function decodeBatch({ streamId, payload }: V2Frame): V2Frame[] {
  if (streamId !== 0) throw new V2FormatError(`Batch on stream ${streamId}`);
  const frames: V2Frame[] = [];
  let at = 0;
  while (at < payload.length) {
    const length = readUint32(payload, at);
    at += 4;
    if (at + length > payload.length) throw new V2FormatError("Batch is cut short");
    const frame = decodeV1Frame(payload.subarray(at, at + length));
    if (!frame) throw new V2FormatError(`Batch holds a frame of ${length} bytes`);
    if (frame.type === V2.batch) throw new V2FormatError("Batch holds a Batch");
    frames.push(frame);
    at += length;
  }
  if (frames.length === 0) throw new V2FormatError("Batch is empty");
  return frames;
}

/** The payload of Open. */
export function openPayload(target: string, first: Uint8Array): Uint8Array {
  const name = new TextEncoder().encode(target);
  return concatBytes([Uint8Array.of(name.length >> 8, name.length & 0xff), name, first]);
}

/** Splits the payload of Open. @throws {V2FormatError} */
export function decodeOpenPayload(payload: Uint8Array): { target: string; first: Uint8Array } {
  if (payload.length < 2) throw new V2FormatError("Open has no target's length");
  const end = 2 + payload[0]! * 256 + payload[1]!;
  if (payload.length < end) throw new V2FormatError("Open has half a target");
  const target = new TextDecoder("utf-8", { fatal: true }).decode(payload.subarray(2, end));
  return { target, first: payload.subarray(end) };
}

/** A number as 32 bits, big-endian: the payload of Credit. */
export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** The 32 bits at `at`. @throws {V2FormatError} when they are not there. */
export function readUint32(bytes: Uint8Array, at: number): number {
  if (bytes.length < at + 4) {
    throw new V2FormatError(`No 32 bits at ${at} of ${bytes.length} bytes`);
  }
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0);
}

/** JSON as a payload. */
export function jsonPayload(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** A payload that is JSON. @throws {V2FormatError} when it is none. */
export function parseJson(payload: Uint8Array): Record<string, unknown> {
  const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  if (typeof value !== "object" || value === null) throw new V2FormatError("Payload is no object");
  return value as Record<string, unknown>;
}
