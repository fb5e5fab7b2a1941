import assert from "node:assert/strict";
import fc from "fast-check";
import { JsonLines, type LineFormat, maxValueChars } from "../../lib/runtime/node/log_line.ts";
import { TextLines } from "../../lib/runtime/node/text_line.ts";
import { check } from "../protocol/property.ts";

const timeMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

function failure(format: LineFormat, fields: Record<string, unknown>): string {
  return format.line("warn", "Request failed", fields, timeMs);
}

function jsonLine(fields: Record<string, unknown>): string {
  return failure(new JsonLines("relay"), fields);
}

function textLine(fields: Record<string, unknown>): string {
  return failure(new TextLines({ isColored: false, isVerbose: false }), fields);
}

/** Whatever may end a line, move a cursor or turn the direction of writing. */
// deno-lint-ignore no-control-regex -- Control characters are what it looks for.
const obeyed = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

Deno.test("jsonLine has time, level, logger and message, then the fields that are set", () => {
  assert.equal(
    jsonLine({ status: 502, path: "/a", instance: undefined, complete: false }),
    '{"time":"2026-01-02T03:04:05.678Z","level":"warn","logger":"relay",' +
      '"message":"Request failed","status":502,"path":"/a","complete":false}',
  );
});

Deno.test("textLine has the same, with quotes where a value needs them", () => {
  assert.equal(
    textLine({ path: "/a", reason: 'said "no"', instance: undefined }),
    '03:04:05.678 WARN  Request failed path=/a reason="said \\"no\\""',
  );
});

Deno.test("a long value is cut", () => {
  const { path } = JSON.parse(jsonLine({ path: "x".repeat(10_000) }));
  assert.equal(path, "x".repeat(maxValueChars) + "…");
});

Deno.test("jsonLine is one line of JSON that gives back each value, and no terminal obeys it", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  check(fc.property(text, (value) => {
    const line = jsonLine({ value });
    assert.doesNotMatch(line, obeyed);
    assert.equal(JSON.parse(line).value, value);
  }));
});

Deno.test("a control sequence of one C1 character, a reversal and a line end are escaped", () => {
  const value = "\x9b2J\x7f\u202e\u2028\x1b]0;t\x07";
  for (const line of [jsonLine({ value }), textLine({ value })]) {
    assert.doesNotMatch(line, obeyed);
    assert.ok(line.includes("\\u009b2J\\u007f\\u202e\\u2028"), line);
  }
});

Deno.test("textLine: no value can begin a line or a field of its own", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  check(fc.property(text, (value) => {
    const line = textLine({ value, end: 1 });
    assert.doesNotMatch(line, obeyed);
    const [, quoted = ""] = /^03:04:05\.678 WARN {2}Request failed value=(.*) end=1$/.exec(line)!;
    if (quoted.startsWith('"')) assert.equal(JSON.parse(quoted), value);
    else assert.equal(quoted, value);
  }));
});

Deno.test("jsonLine gives each kind of value as JSON has it, and never throws", () => {
  const ring: Record<string, unknown> = {};
  ring["ring"] = ring;
  const fields = { 'a"b': null, list: ["x", 1, "\x9b"], nan: NaN, big: 10n, ring, "a b": -0.5 };
  assert.deepEqual(JSON.parse(jsonLine(fields)), {
    ...{ time: "2026-01-02T03:04:05.678Z", level: "warn", logger: "relay" },
    ...{ message: "Request failed", 'a"b': null, list: ["x", 1, "\x9b"], nan: null },
    ...{ big: "10", ring: "[object Object]", "a b": -0.5 },
  });
  assert.doesNotMatch(jsonLine(fields), obeyed);
});

Deno.test("a list that is too long is cut as text", () => {
  const { names } = JSON.parse(jsonLine({ names: Array(1_000).fill("name") }));
  assert.equal(names.length, maxValueChars + 1);
});
