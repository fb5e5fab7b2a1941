import assert from "node:assert/strict";
import fc from "fast-check";
import {
  decodeStreamError,
  encodeErrorText,
  encodeStreamError,
  StreamError,
  streamErrorCodes,
} from "../../lib/protocol/errors.ts";
import { anyBytes, check } from "./property.ts";
import { bytesOf } from "./wire.ts";

/** What of an error is compared. */
function summary(error: StreamError): [string, string] {
  return [error.code, error.message];
}

Deno.test("decodeStreamError gives back what encodeStreamError was given", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 100 });
  check(fc.property(fc.constantFrom(...streamErrorCodes), text, (code, message) => {
    const error = decodeStreamError(encodeStreamError(new StreamError(code, message)));
    assert.deepEqual(summary(error), [code, message]);
  }));
});

Deno.test("decodeStreamError takes the free text of version 1 as a reset with that reason", () => {
  const payload = encodeErrorText(new StreamError("refused", "connection refused"));
  assert.deepEqual(summary(decodeStreamError(payload)), ["reset", "connection refused"]);
});

Deno.test("decodeStreamError keeps what it can of a payload that is not as specified", () => {
  const cases: [string, [string, string]][] = [
    ["", ["reset", "The peer gave no reason"]],
    ["null", ["reset", "null"]],
    ["[]", ["reset", "[]"]],
    ['"refused"', ["reset", '"refused"']],
    ['{"code":"refused"}', ["reset", '{"code":"refused"}']],
    ['{"code":"refused","message":7}', ["reset", '{"code":"refused","message":7}']],
    ['{"code":"melted","message":"m"}', ["reset", '{"code":"melted","message":"m"}']],
    ['{"code":"tls","message":"m","more":1}', ["tls", "m"]],
  ];
  for (const [payload, expected] of cases) {
    assert.deepEqual(summary(decodeStreamError(bytesOf(payload))), expected, payload);
  }
});

Deno.test("decodeStreamError keeps the code of an error whose message is cut for its length", () => {
  const long = new StreamError("timeout", "m".repeat(3_000));
  const error = decodeStreamError(encodeStreamError(long));
  assert.deepEqual(summary(error), ["timeout", "m".repeat(512)]);
});

Deno.test("decodeStreamError cuts free text at 512 characters", () => {
  assert.deepEqual(summary(decodeStreamError(bytesOf("t".repeat(513)))), [
    "reset",
    "t".repeat(512),
  ]);
});

Deno.test("decodeStreamError makes a StreamError of any bytes", () => {
  check(fc.property(anyBytes(200), (bytes) => {
    const { code, message } = decodeStreamError(bytes);
    assert.ok(streamErrorCodes.includes(code));
    assert.ok(message.length > 0 || bytes.length > 0);
  }));
});
