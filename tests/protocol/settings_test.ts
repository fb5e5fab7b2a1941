import assert from "node:assert/strict";
import fc from "fast-check";
import { ProtocolError } from "../../lib/protocol/errors.ts";
import {
  decodeSettings,
  defaultSettings,
  encodeSettings,
  type Settings,
} from "../../lib/protocol/settings.ts";
import { anyBytes, check } from "./property.ts";
import { bytesOf } from "./wire.ts";

const valid = { ...defaultSettings, instance: "one", software: "test/1" };

/** The message that settings with these changes are refused with. */
function refusalOf(changes: Record<string, unknown>): string {
  try {
    decodeSettings(bytesOf(JSON.stringify({ ...valid, ...changes })));
  } catch (error) {
    assert.ok(error instanceof ProtocolError, String(error));
    return error.message;
  }
  return "accepted";
}

Deno.test("decodeSettings gives back what encodeSettings was given", () => {
  const settings: fc.Arbitrary<Settings> = fc.record({
    version: fc.integer({ min: 2, max: 1_000 }),
    window: fc.integer({ min: 1, max: 0x7fffffff }),
    maxWindow: fc.integer({ min: 1, max: 0x7fffffff }),
    maxFrame: fc.integer({ min: 1024, max: 16 * 1024 * 1024 - 64 }),
    maxStreams: fc.integer({ min: 1, max: 1_000_000 }),
    instance: fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 128 }),
    software: fc.string({ unit: "grapheme-ascii", maxLength: 128 }),
  }, { noNullPrototype: true });
  check(fc.property(settings, (value) => {
    assert.deepEqual(decodeSettings(encodeSettings(value)), value);
  }));
});

Deno.test("decodeSettings ignores keys that it does not know", () => {
  const payload = bytesOf(JSON.stringify({ ...valid, compression: ["none"], later: null }));
  assert.deepEqual(decodeSettings(payload), valid);
});

Deno.test("decodeSettings takes a peer that does not name its software", () => {
  const { software: _, ...anonymous } = valid;
  const payload = bytesOf(JSON.stringify(anonymous));
  assert.deepEqual(decodeSettings(payload), { ...valid, software: "unknown" });
});

Deno.test("decodeSettings names the key that is wrong", () => {
  const cases: [string, unknown[]][] = [
    ["version", [undefined, null, 1, 0, -2, 2.5, "2", true, []]],
    ["window", [undefined, null, 0, -1, 0.5, 0x80000000, "65536", {}]],
    ["maxWindow", [undefined, null, 0, -1, 1e300, 0x80000000, "1"]],
    ["maxFrame", [undefined, null, 0, 1023, 16 * 1024 * 1024, "65536"]],
    ["maxStreams", [undefined, null, 0, -1, 1.5, "1024"]],
    ["instance", [undefined, null, "", "x".repeat(129), 7]],
    ["software", [null, 7, "x".repeat(129)]],
  ];
  for (const [key, values] of cases) {
    for (const value of values) {
      const text = refusalOf({ [key]: value });
      assert.ok(text.startsWith(`Settings: ${key}: `), `${key}=${JSON.stringify(value)}: ${text}`);
    }
  }
});

Deno.test("decodeSettings refuses what is no JSON object", () => {
  const cases: [Uint8Array, string | RegExp][] = [
    [bytesOf(""), "Settings are not JSON"],
    [bytesOf("{"), "Settings are not JSON"],
    [Uint8Array.of(0x22, 0xff, 0x22), "Settings are not JSON"],
    [new Uint8Array(64 * 1024 + 1).fill(0x20), "Settings are longer than 64 KiB"],
  ];
  for (const [payload, text] of cases) {
    assert.throws(() => decodeSettings(payload), { name: "ProtocolError", message: text });
  }
  for (const json of ["null", "[]", "7", '"settings"']) {
    assert.throws(() => decodeSettings(bytesOf(json)), {
      name: "ProtocolError",
      message: /^Settings: value: /,
    });
  }
});

Deno.test("decodeSettings gives settings or a ProtocolError for any bytes", () => {
  const json = fc.oneof(
    fc.json(),
    fc.dictionary(fc.constantFrom(...Object.keys(valid), "__proto__"), fc.jsonValue())
      .map((some) => JSON.stringify({ ...valid, ...some })),
  ).map(bytesOf);
  check(fc.property(fc.oneof(anyBytes(60), json), (payload) => {
    try {
      assert.deepEqual(Object.keys(decodeSettings(payload)), Object.keys(valid));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
    }
  }));
});

Deno.test("defaultSettings are settings", () => {
  assert.deepEqual(decodeSettings(bytesOf(JSON.stringify(valid))), valid);
});
