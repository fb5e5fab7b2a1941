import assert from "node:assert/strict";
import fc from "fast-check";
import { parseDurationMs } from "../../../lib/config/options/duration.ts";

Deno.test("parseDurationMs reads durations as Go writes them", () => {
  const cases: [string, number][] = [
    ["0", 0],
    ["0s", 0],
    ["+5s", 5_000],
    ["60s", 60_000],
    ["1m30s", 90_000],
    ["500ms", 500],
    ["2h", 7_200_000],
    ["2h45m0.5s", 9_900_500],
    ["1.5h", 5_400_000],
    [".5s", 500],
    ["1.s", 1_000],
    ["1s500ms", 1_500],
    ["2500us", 3],
    ["2500\u00b5s", 3],
    ["2500\u03bcs", 3],
    ["3000000ns", 3],
  ];
  for (const [text, ms] of cases) assert.equal(parseDurationMs(text), ms, text);
});

Deno.test("parseDurationMs keeps a tiny duration from becoming 0, which may mean none", () => {
  assert.equal(parseDurationMs("1ns"), 1);
  assert.equal(parseDurationMs("0.4ms"), 1);
});

Deno.test("parseDurationMs refuses what Go refuses, and negative durations", () => {
  const wrong = ["", "+", "60", "s", ".s", "1m30", "1 s", " 1s", "1s ", "-5s", "1d", "1e3s", "1S"];
  for (const text of [...wrong, "1,5s", "Infinity", "0x1s", "++1s", "1s-1s"]) {
    assert.equal(parseDurationMs(text), undefined, JSON.stringify(text));
  }
});

Deno.test("parseDurationMs adds up parts in any order and number", () => {
  const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;
  const part = fc.tuple(fc.nat(999), fc.constantFrom("ms", "s", "m", "h"));
  fc.assert(fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
    const text = parts.map(([amount, unit]) => `${amount}${unit}`).join("");
    const expected = parts.reduce((sum, [amount, unit]) => sum + amount * unitMs[unit], 0);
    assert.equal(parseDurationMs(text), expected);
  }));
});

Deno.test("parseDurationMs gives whole milliseconds or nothing for any text", () => {
  const letters = fc.constantFrom(..."0123456789.+-hmsnu\u00b5 ");
  fc.assert(fc.property(fc.string({ unit: letters, maxLength: 12 }), (text) => {
    const ms = parseDurationMs(text);
    assert.ok(ms === undefined || (Number.isInteger(ms) && ms >= 0), `${text}: ${ms}`);
  }));
});
