/**
 * Frames of the tunnel protocol, version 1, for the test peers. Written from the protocol's text
 * alone and sharing no code with the product, so that both can only agree by following the text.
 *
 * One binary message is one frame: `[type:1][stream:4 big-endian][payload]`.
 */

/** The frame types of version 1; there are no others. */
export const V1 = {
  /** Relay to agent; the payload is the target's `host:port`. */
  connect: 0x01,
  /** Agent to relay; empty. */
  connected: 0x02,
  data: 0x03,
  /** Ends the stream; the payload is a text. */
  error: 0x04,
  /** Ends the stream; empty. */
  close: 0x05,
  /** On stream 0. */
  ping: 0x06,
  /** On stream 0. */
  pong: 0x07,
} as const;

/** A version 1 peer's message limit, in bytes. */
export const V1_MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

const HEADER_BYTES = 5;

/** One frame; `type` may be one that version 1 does not know. */
export interface V1Frame {
  readonly type: number;
  readonly streamId: number;
  readonly payload: Uint8Array;
}

/** The message that carries a frame. */
export function encodeV1Frame({ type, streamId, payload }: V1Frame): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(message.buffer);
  view.setUint8(0, type);
  view.setUint32(1, streamId);
  message.set(payload, HEADER_BYTES);
  return message;
}

/** The frame in a message, or undefined when it is too short for a header. */
export function decodeV1Frame(message: Uint8Array): V1Frame | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  return {
    type: view.getUint8(0),
    streamId: view.getUint32(1),
    payload: message.subarray(HEADER_BYTES),
  };
}

/** The name of a frame type, for messages: "data", or "0x08" for one that version 1 has not. */
export function v1TypeName(type: number): string {
  const entry = Object.entries(V1).find(([, value]) => value === type);
  return entry?.[0] ?? `0x${type.toString(16).padStart(2, "0")}`;
}
