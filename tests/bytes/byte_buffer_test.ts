import assert from "node:assert/strict";
import fc from "fast-check";
import { ByteBuffer } from "../../lib/bytes/byte_buffer.ts";
import { anyBytes, check } from "../protocol/property.ts";
import { joined } from "../protocol/wire.ts";

Deno.test("ByteBuffer gives what it was given, and what it gave stays as it was", () => {
  const steps = fc.array(fc.oneof(anyBytes(40), fc.constant("take" as const)), { maxLength: 30 });
  check(fc.property(steps, (steps) => {
    const buffer = new ByteBuffer();
    let wanted: Uint8Array = new Uint8Array(0);
    const given: [Uint8Array, Uint8Array][] = [];
    for (const step of steps) {
      if (step === "take") {
        given.push([buffer.take(), wanted]);
        wanted = new Uint8Array(0);
      } else {
        buffer.append(step);
        wanted = joined(wanted, step);
      }
      given.push([buffer.bytes, wanted]);
      assert.equal(buffer.length, wanted.length);
    }
    for (const [bytes, wanted] of given) assert.deepEqual(bytes, wanted);
  }));
});

Deno.test("ByteBuffer does not copy a piece that comes alone", () => {
  const buffer = new ByteBuffer();
  const piece = Uint8Array.of(1, 2, 3);
  buffer.append(piece);
  assert.equal(buffer.bytes, piece);
  assert.equal(buffer.take(), piece);
});

Deno.test("ByteBuffer takes time in proportion to its bytes, in pieces of one byte too", () => {
  const count = 1024 * 1024;
  const piece = Uint8Array.of(7);
  const buffer = new ByteBuffer();
  const startMs = performance.now();
  for (let at = 0; at < count; at++) buffer.append(piece);
  assert.equal(buffer.length, count);
  // Some milliseconds. To copy all that came before for each byte takes minutes.
  assert.ok(performance.now() - startMs < 20_000);
});
