/** The frame decoder: bytes of a peer that can do anything. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ExcessError, ProtocolError } from "../../lib/protocol/errors.ts";
import { decodeMessage, FrameWalk, maxMessageFrames } from "../../lib/protocol/frame.ts";
import { anyBytes } from "../protocol/property.ts";
import { batch, type Frame, frame } from "../protocol/wire.ts";
import type { FuzzTarget } from "./target.ts";

const anyFrame = fc.record({
  type: fc.integer({ min: 0, max: 0xff }).filter((type) => type !== 0x0c),
  stream: fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.nat(3)),
  payload: anyBytes(24),
});

function encoded({ type, stream, payload }: Frame): Uint8Array {
  return frame(type, stream, payload);
}

/** Frames, whole and broken in one place. */
const anyMessage: fc.Arbitrary<Uint8Array> = fc.oneof(
  anyBytes(40),
  fc.array(anyFrame, { minLength: 1, maxLength: 12 }).map((frames) => batch(...frames.map(encoded)))
    .chain((message) =>
      fc.record({
        at: fc.nat(message.length - 1),
        byte: fc.nat(0xff),
        cut: fc.nat(message.length),
        isBroken: fc.boolean(),
      }).map(({ at, byte, cut, isBroken }) => {
        if (!isBroken) return message;
        const broken = message.slice(0, cut);
        if (at < cut) broken[at] = byte;
        return broken;
      })
    ),
);

/** What a walk made of a message: its frames, and the error that ended it. */
function walked(message: Uint8Array, stepFrames: number): unknown[] {
  const seen: unknown[] = [];
  const walk = new FrameWalk(message);
  try {
    do {
      const visited = walk.step((type, stream, payload) => {
        seen.push([type, stream, payload.slice()]);
      }, stepFrames);
      assert.ok(visited <= stepFrames);
    } while (!walk.isOver);
  } catch (error) {
    if (!(error instanceof ProtocolError || error instanceof ExcessError)) throw error;
    seen.push(error.message);
  }
  return seen;
}

/** The frame decoder's targets. */
export const frameTargets: readonly FuzzTarget[] = [
  {
    name: "frames",
    claim: "any bytes are frames or a protocol error, the same in steps of any size",
    property: () =>
      fc.property(anyMessage, fc.integer({ min: 1, max: 5 }), (message, stepFrames) => {
        const whole = walked(message, Infinity);
        assert.deepEqual(walked(message, stepFrames), whole);
        assert.ok(whole.length <= maxMessageFrames + 1);
      }),
  },
  {
    name: "frames-round-trip",
    claim: "frames that are written are the frames that are read",
    property: () =>
      fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 20 }), (frames) => {
        const read: Frame[] = [];
        decodeMessage(batch(...frames.map(encoded)), (type, stream, payload) => {
          read.push({ type, stream, payload: payload.slice() });
        });
        assert.deepEqual(read.map(encoded), frames.map(encoded));
      }),
  },
];
