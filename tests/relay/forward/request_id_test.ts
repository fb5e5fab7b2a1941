import assert from "node:assert/strict";
import { field } from "../../../lib/http1/head.ts";
import { newRequestId, requestIdOf } from "../../../lib/relay/forward/request_id.ts";

const made = /^[0-9a-f]{32}$/;

function given(...values: string[]): string {
  return requestIdOf(values.map((value) => field("X-Request-ID", value)));
}

Deno.test("requestIdOf takes a caller's id that is safe", () => {
  const ids = [
    "a",
    "0af7651916cd43dd8448eb211c80319c",
    "Root=1-67891233-abcdef",
    "a.b_c:d/e@f~g+h",
  ];
  for (const id of [...ids, "x".repeat(128)]) assert.equal(given(id), id);
});

Deno.test("requestIdOf makes one in place of any other, and of two", () => {
  const others = [
    "",
    "x".repeat(129),
    "a b",
    'a"b',
    "a,b",
    "a\x9bb",
    "ä",
    "a\tb",
    "<a>",
    "a;b",
    "$(a)",
  ];
  for (const id of others) assert.match(given(id), made, JSON.stringify(id));
  assert.match(given("a", "a"), made);
  assert.match(given(), made);
});

Deno.test("newRequestId gives no id twice", () => {
  const ids = Array.from({ length: 2_000 }, newRequestId);
  for (const id of ids) assert.match(id, made);
  assert.equal(new Set(ids).size, ids.length);
});
