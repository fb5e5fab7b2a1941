import assert from "node:assert/strict";
import { endReason } from "../../lib/protocol/session_end.ts";

const cases = [
  [1001, "going_away"],
  [3001, "going_away"],
  [1002, "protocol_error"],
  [3002, "protocol_error"],
  [1006, "broken"],
  [1008, "not_permitted"],
  [4002, "excessive"],
  [1009, "too_large"],
  [1011, "internal_error"],
  [1013, "overloaded"],
  [4001, "replaced"],
  [1000, "other"],
  [1005, "other"],
  [3000, "other"],
  [4999, "other"],
] as const;

for (const [code, expected] of cases) {
  Deno.test(`endReason of ${code} is ${expected}`, () => {
    assert.equal(endReason({ code, reason: "as it is" }), expected);
  });
}

Deno.test("endReason tells silence from a connection that broke", () => {
  assert.equal(endReason({ code: 1006, reason: "No frame", isSilence: true }), "silent");
});
