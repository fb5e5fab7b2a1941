import assert from "node:assert/strict";
import { ConfigError } from "../../lib/config/config_error.ts";
import { readSessionKeys } from "../../lib/config/session_keys.ts";

const key = (seed: number) =>
  Uint8Array.from({ length: 32 }, (_, index) => (index * 7 + seed * 31) % 256);
const source = 'Session keys file "keys"';

Deno.test("Session keys are read one a line, with comments, in either alphabet and with or without padding", () => {
  const text = [
    "\ufeff# made on Monday",
    key(1).toBase64(),
    "",
    `  ${key(2).toBase64({ alphabet: "base64url", omitPadding: true })}  # the one before`,
  ].join("\r\n");
  assert.deepEqual(readSessionKeys(text, source), [key(1), key(2)]);
});

const faults: readonly (readonly [name: string, text: string, message: RegExp])[] = [
  ["nothing", "# only a comment\n", /has no key/],
  ["a short key", `${key(1).toBase64()}\n${key(2).slice(1).toBase64()}`, /line 2: must be 32/],
  ["a long key", new Uint8Array(33).fill(1, 3).toBase64(), /line 1: must be 32/],
  ["no base64", "not a key!", /line 1: must be 32/],
  ["one key twice", `${key(1).toBase64()}\n\n${key(1).toBase64()}`, /line 3: is the same key/],
  [
    "too many",
    Array.from({ length: 17 }, (_, seed) => key(seed).toBase64()).join("\n"),
    /has 17 keys; at most 16/,
  ],
];

for (const [name, text, message] of faults) {
  Deno.test(`Session keys are refused with the line, and without the key: ${name}`, () => {
    assert.throws(() => readSessionKeys(text, source), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, message);
      assert.ok(!error.message.includes(key(1).toBase64()));
      return true;
    });
  });
}
