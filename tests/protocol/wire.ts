/**
 * Frames as docs/protocol.md has them, written and read by hand: what the tests send as a peer and
 * expect from one does not come from the code under test.
 */
import assert from "node:assert/strict";

/** Frame types by name. */
export const T = {
  Connect: 1,
  Connected: 2,
  Data: 3,
  Error: 4,
  Close: 5,
  Ping: 6,
  Pong: 7,
  Settings: 8,
  Credit: 9,
  End: 10,
  Open: 11,
  Batch: 12,
  Drain: 13,
  Return: 16,
  Announce: 17,
  Notice: 18,
} as const;

/** A frame taken apart. */
export interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly payload: Uint8Array;
}

/** One frame as a message. Text stands for its UTF-8. */
export function frame(type: number, stream: number, payload: Uint8Array | string = ""): Uint8Array {
  return joined(Uint8Array.of(type), uint32(stream), bytesOf(payload));
}

/** Several messages as one Batch. */
export function batch(...messages: Uint8Array[]): Uint8Array {
  const parts = messages.flatMap((message) => [uint32(message.length), message]);
  return frame(T.Batch, 0, joined(...parts));
}

/** An Open with its first bytes. */
export function open(stream: number, target: string, first: Uint8Array | string = ""): Uint8Array {
  const name = bytesOf(target);
  const length = Uint8Array.of(name.length >> 8, name.length & 0xff);
  return frame(T.Open, stream, joined(length, name, bytesOf(first)));
}

/** A Credit. */
export function credit(stream: number, bytes: number): Uint8Array {
  return frame(T.Credit, stream, uint32(bytes));
}

/** 32 bits, big-endian. */
export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** The frames of a message, those of a Batch one by one. */
export function framesOf(message: Uint8Array): Frame[] {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const first: Frame = {
    type: view.getUint8(0),
    stream: view.getUint32(1),
    payload: message.subarray(5),
  };
  if (first.type !== T.Batch) return [first];
  const frames: Frame[] = [];
  for (let at = 5; at < message.length;) {
    const length = view.getUint32(at);
    const inner = message.subarray(at + 4, at + 4 + length);
    frames.push({
      type: view.getUint8(at + 4),
      stream: view.getUint32(at + 5),
      payload: inner.subarray(5),
    });
    at += 4 + length;
  }
  return frames;
}

/** Text as UTF-8; bytes as they are. */
export function bytesOf(content: Uint8Array | string): Uint8Array {
  return typeof content === "string" ? new TextEncoder().encode(content) : content;
}

/** All parts in one. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Asserts that long bytes or texts are the same, and says where they first differ, not all they are. */
export function assertSame<Content extends Uint8Array | string>(
  actual: Content,
  expected: Content,
): void {
  const length = Math.max(actual.length, expected.length);
  let at = 0;
  while (at < length && actual[at] === expected[at]) at++;
  if (at === length) return;
  const from = Math.max(0, at - 20);
  const near = (content: Content) => Deno.inspect(content.slice(from, at + 20));
  assert.fail(
    `Of ${actual.length} (expected ${expected.length}) the first ${at} are the same; there, from ` +
      `${from} on, are ${near(actual)} instead of ${near(expected)}`,
  );
}

/** Bytes that differ from place to place, so that a wrong order or a lost piece shows. */
export function patterned(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = seed >>> 0 || 1;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}
