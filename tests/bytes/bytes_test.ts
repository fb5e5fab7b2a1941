import assert from "node:assert/strict";
import fc from "fast-check";
import {
  allocate,
  concat,
  decodeLatin1,
  encodeLatin1,
  freeCallback,
  noBytes,
} from "../../lib/bytes/bytes.ts";
import { anyBytes, check } from "../protocol/property.ts";
import { joined } from "../protocol/wire.ts";

Deno.test("decodeLatin1 makes one character of each byte, whatever the bytes would be in UTF-8", () => {
  const cases: [number[], string][] = [
    [[], ""],
    [[0x41, 0x00, 0x7f], "A\0\x7f"],
    [[0xc3, 0xa9], "\xc3\xa9"],
    [[0xef, 0xbb, 0xbf, 0x41], "\xef\xbb\xbfA"],
    [[0xef, 0xbf, 0xbd], "\xef\xbf\xbd"],
    [[0xf0, 0x9f, 0x94, 0x91], "\xf0\x9f\x94\x91"],
    [[0xff, 0x80], "\xff\x80"],
  ];
  for (const [bytes, text] of cases) assert.equal(decodeLatin1(Uint8Array.from(bytes)), text);
});

Deno.test("decodeLatin1 and encodeLatin1 are each other's inverse", () => {
  const utf8 = fc.string({ unit: "grapheme", maxLength: 40 }).map((text) => {
    return new TextEncoder().encode(text);
  });
  check(fc.property(fc.oneof(anyBytes(60), utf8), (bytes) => {
    const text = decodeLatin1(bytes);
    assert.equal(text, Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    assert.deepEqual(encodeLatin1(text), bytes);
  }));
});

Deno.test("decodeLatin1 and encodeLatin1 take texts of any length", () => {
  for (const length of [8_191, 8_192, 8_193, 16_384, 16_385, 100_000]) {
    for (const last of ["z", "\xff"]) {
      const text = "a".repeat(length - 1) + last;
      assert.ok(decodeLatin1(encodeLatin1(text)) === text, `${length}`);
    }
  }
});

Deno.test("allocate gives arrays of their own, of any length", () => {
  const lengths = fc.array(
    fc.oneof(fc.nat(100), fc.constantFrom(0, 16_384, 16_385, 65_536, 70_000)),
    { minLength: 2, maxLength: 12 },
  );
  check(
    fc.property(lengths, (lengths) => {
      const arrays = lengths.map((length, index) => allocate(length).fill(index));
      for (const [index, array] of arrays.entries()) {
        assert.equal(array.length, lengths[index]);
        assert.ok(array.every((byte) => byte === index), "another array's bytes");
      }
    }),
    { numRuns: 100 },
  );
});

Deno.test("concat joins two pieces, and copies nothing where one is empty", () => {
  const piece = Uint8Array.of(1, 2);
  assert.equal(concat(noBytes, piece), piece);
  assert.equal(concat(piece, noBytes), piece);
  check(fc.property(anyBytes(30), anyBytes(30), (first, second) => {
    assert.deepEqual(concat(first, second), joined(first, second));
  }));
});

Deno.test("freeCallback frees memory that an array has for itself", () => {
  const bytes = new Uint8Array(64 * 1024);
  freeCallback(bytes)!();
  assert.deepEqual([bytes.length, bytes.buffer.detached], [0, true]);
});

Deno.test("freeCallback leaves alone what may be a part of something else", () => {
  const large = new Uint8Array(64 * 1024);
  const parts = [large.subarray(0, 32 * 1024), large.subarray(32 * 1024), allocate(16 * 1024)];
  for (const part of [...parts, new Uint8Array(100), noBytes]) {
    assert.equal(freeCallback(part), undefined);
  }
});
