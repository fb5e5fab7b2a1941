import assert from "node:assert/strict";
import fc from "fast-check";
import { ProtocolError } from "../../lib/protocol/errors.ts";
import {
  decodeCredit,
  decodeMessage,
  decodeOpen,
  encodeFrame,
  encodeTarget,
  frameName,
  FrameType,
  readUint32,
  writeHeader,
  writeUint32,
} from "../../lib/protocol/frame.ts";
import { anyBytes, check } from "./property.ts";
import { batch, bytesOf, type Frame, frame, joined, T, uint32 } from "./wire.ts";

/** Frame types with their names, in the order of the specification's table. */
const TABLE = [
  ["Connect", 0x01],
  ["Connected", 0x02],
  ["Data", 0x03],
  ["Error", 0x04],
  ["Close", 0x05],
  ["Ping", 0x06],
  ["Pong", 0x07],
  ["Settings", 0x08],
  ["Credit", 0x09],
  ["End", 0x0a],
  ["Open", 0x0b],
  ["Batch", 0x0c],
  ["Drain", 0x0d],
  ["Return", 0x10],
  ["Announce", 0x11],
  ["Notice", 0x12],
] as const;

const anyType = fc.integer({ min: 0, max: 0xff }).filter((type) => type !== T.Batch);
const anyStream = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff),
);
const anyFrame: fc.Arbitrary<Frame> = fc.record({
  type: anyType,
  stream: anyStream,
  payload: anyBytes(40),
}, { noNullPrototype: true });

/** What a decoder made of a message: its frames, copied, and the error that ended it. */
function decoded(message: Uint8Array): { frames: Frame[]; error: unknown } {
  const frames: Frame[] = [];
  try {
    decodeMessage(message, (type, stream, payload) => {
      frames.push({ type, stream, payload: Uint8Array.from(payload) });
    });
    return { frames, error: undefined };
  } catch (error) {
    return { frames, error };
  }
}

function encoded({ type, stream, payload }: Frame): Uint8Array {
  return frame(type, stream, payload);
}

Deno.test("FrameType holds the types of the specification in the order of its table", () => {
  assert.deepEqual(Object.entries(FrameType), TABLE.map((row) => [...row]));
});

Deno.test("frameName names a known type and gives an unknown one as a number", () => {
  const names = [0, 3, 0x0d, 0x0e, 0xff].map(frameName);
  assert.deepEqual(names, ["0x00", "Data", "Drain", "0x0e", "0xff"]);
});

Deno.test("encodeFrame writes type, stream and payload as the specification has them", () => {
  const bytes = encodeFrame(T.Data, 0x01020304, Uint8Array.of(9, 8));
  assert.deepEqual(bytes, Uint8Array.of(3, 1, 2, 3, 4, 9, 8));
});

Deno.test("encodeFrame writes a frame without a payload as its header alone", () => {
  assert.deepEqual(encodeFrame(T.Close, 0xffffffff), Uint8Array.of(5, 255, 255, 255, 255));
});

Deno.test("decodeMessage gives back what encodeFrame was given", () => {
  check(fc.property(anyFrame, (value) => {
    const message = encodeFrame(value.type, value.stream, value.payload);
    assert.deepEqual(decoded(message), { frames: [value], error: undefined });
  }));
});

Deno.test("decodeMessage gives the same frames for one Batch as for messages of their own", () => {
  const frames = fc.array(anyFrame, { minLength: 1, maxLength: 8 });
  check(fc.property(frames, (frames) => {
    const apart = frames.flatMap((value) => decoded(encoded(value)).frames);
    assert.deepEqual(decoded(batch(...frames.map(encoded))), { frames: apart, error: undefined });
  }));
});

Deno.test("decodeMessage finds a Batch inside a larger buffer by the view's bounds", () => {
  const message = batch(frame(T.Data, 1, "one"), frame(T.End, 2, "two"));
  const buffer = joined(bytesOf("front"), message, bytesOf("behind"));
  const view = buffer.subarray(5, 5 + message.length);
  assert.deepEqual(decoded(view), decoded(message));
});

Deno.test("decodeMessage refuses a Batch cut inside a frame, after the frames in front", () => {
  const frames = [frame(T.Ping, 0, "12345678"), frame(T.Data, 7, "content"), frame(T.Close, 7)];
  const whole = batch(...frames);
  const { frames: all } = decoded(whole);
  let boundary = 5;
  const boundaries = frames.map((message) => boundary += 4 + message.length);
  for (let length = 6; length < whole.length; length++) {
    const { frames: seen, error } = decoded(whole.subarray(0, length));
    const count = boundaries.filter((end) => end <= length).length;
    assert.deepEqual(seen, all.slice(0, count), `cut at ${length}`);
    const isBoundary = boundaries.includes(length);
    assert.equal(error instanceof ProtocolError, !isBoundary, `cut at ${length}: ${error}`);
  }
});

Deno.test("decodeMessage refuses malformed messages with what is wrong", () => {
  const inner = frame(T.Data, 1, "x");
  const cases: [string, Uint8Array, string][] = [
    ["empty", new Uint8Array(0), "Message of 0 bytes is too short for a frame"],
    ["four bytes", Uint8Array.of(3, 0, 0, 0), "Message of 4 bytes is too short for a frame"],
    ["Batch on a stream", frame(T.Batch, 9, inner), "Batch on stream 9; must be on stream 0"],
    ["Batch of nothing", frame(T.Batch, 0), "Batch holds no frame"],
    ["cut length", frame(T.Batch, 0, Uint8Array.of(0, 0, 0)), "Batch is cut short in a length"],
    [
      "frame shorter than a header",
      frame(T.Batch, 0, joined(uint32(4), new Uint8Array(4))),
      "Batch declares a frame of 4 bytes where 4 follow",
    ],
    [
      "frame of no bytes",
      frame(T.Batch, 0, uint32(0)),
      "Batch declares a frame of 0 bytes where 0 follow",
    ],
    [
      "length past the end",
      frame(T.Batch, 0, joined(uint32(7), inner)),
      "Batch declares a frame of 7 bytes where 6 follow",
    ],
    [
      "the largest length",
      frame(T.Batch, 0, joined(uint32(0xffffffff), inner)),
      "Batch declares a frame of 4294967295 bytes where 6 follow",
    ],
    ["nested", batch(batch(inner)), "Batch inside a Batch"],
  ];
  for (const [name, message, text] of cases) {
    const { error } = decoded(message);
    assert.ok(error instanceof ProtocolError, `${name}: ${error}`);
    assert.equal(error.message, text, name);
  }
});

Deno.test("decodeMessage gives frames or a ProtocolError for any bytes", () => {
  const soup = fc.array(
    fc.oneof(
      anyBytes(12),
      fc.constantFrom(uint32(5), uint32(6), uint32(0), uint32(0xffffffff)),
      fc.constantFrom(frame(T.Batch, 0), frame(T.Data, 1), batch(frame(T.End, 2, "z"))),
    ),
    { maxLength: 8 },
  ).map((parts) => joined(...parts));
  check(
    fc.property(soup, (bytes) => {
      const { frames, error } = decoded(bytes);
      assert.ok(error === undefined ? frames.length > 0 : error instanceof ProtocolError);
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("decodeMessage lets what its visitor throws through", () => {
  const thrown = new Error("the visitor's own");
  assert.throws(() =>
    decodeMessage(frame(T.Data, 1), () => {
      throw thrown;
    }), thrown);
});

Deno.test("readUint32 gives back what writeUint32 wrote, at any offset", () => {
  check(fc.property(anyStream, fc.nat(20), (value, offset) => {
    const bytes = new Uint8Array(offset + 4);
    assert.equal(writeUint32(bytes, offset, value), offset + 4);
    assert.equal(readUint32(bytes, offset), value);
  }));
});

Deno.test("writeHeader returns the offset behind the header", () => {
  const bytes = new Uint8Array(7);
  assert.equal(writeHeader(bytes, 2, T.End, 0xa0b0c0d0), 7);
  assert.deepEqual(bytes, Uint8Array.of(0, 0, 10, 0xa0, 0xb0, 0xc0, 0xd0));
});

Deno.test("decodeOpen splits what encodeTarget and first bytes were joined to", () => {
  check(
    fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), anyBytes(30), (target, first) => {
      const payload = joined(encodeTarget(target), first);
      assert.deepEqual(decodeOpen(payload), { target: bytesOf(target), first });
    }),
  );
});

Deno.test("encodeTarget takes 65,535 bytes of UTF-8 and no more", () => {
  assert.equal(encodeTarget("a".repeat(65_535)).length, 65_537);
  assert.throws(
    () => encodeTarget("\u00e9".repeat(32_768)),
    new RangeError("Target is longer than 65,535 bytes"),
  );
});

Deno.test("decodeOpen refuses a payload whose declared target is not there", () => {
  const cases: [number[], string][] = [
    [[], "Open has no target length"],
    [[0], "Open has no target length"],
    [[0, 1], "Open is cut short in its target"],
    [[0xff, 0xff, 1, 2, 3], "Open is cut short in its target"],
  ];
  for (const [bytes, text] of cases) {
    assert.throws(() => decodeOpen(Uint8Array.from(bytes)), new ProtocolError(text));
  }
});

Deno.test("decodeCredit takes a positive uint32 and nothing else", () => {
  assert.equal(decodeCredit(Uint8Array.of(0, 0, 0, 1)), 1);
  assert.equal(decodeCredit(Uint8Array.of(255, 255, 255, 255)), 0xffffffff);
  const cases: [number[], string][] = [
    [[0, 0, 0, 0], "Credit of zero bytes"],
    [[], "Credit of 0 bytes; must be 4"],
    [[0, 0, 1], "Credit of 3 bytes; must be 4"],
    [[0, 0, 0, 1, 0], "Credit of 5 bytes; must be 4"],
  ];
  for (const [bytes, text] of cases) {
    assert.throws(() => decodeCredit(Uint8Array.from(bytes)), new ProtocolError(text));
  }
});
