import assert from "node:assert/strict";
import fc from "fast-check";
import { findDuplicateKey, findJsonFault } from "../../../lib/config/entries/json_fault.ts";

Deno.test("findJsonFault says where the first wrong token begins", () => {
  const cases: [string, number, number][] = [
    ["", 1, 1],
    ["  \n ", 2, 2],
    ["nul", 1, 1],
    ["01", 1, 1],
    ["1 2", 1, 3],
    ["[", 1, 2],
    ["[1,]", 1, 4],
    ["[1 2]", 1, 4],
    ["[}", 1, 2],
    ["{]", 1, 2],
    ["[[]", 1, 4],
    ["[]]", 1, 3],
    ['{"a":1,}', 1, 8],
    ['{"a" 1}', 1, 6],
    ['{"a":}', 1, 6],
    ["{a:1}", 1, 2],
    ["['a']", 1, 2],
    ['["a\n"]', 1, 2],
    ['["\\x"]', 1, 2],
    ['[\n  {"id": "a",\n   "token": b}\n]', 3, 13],
    ['[\r\n{"id": "a"},\r\n]', 3, 1],
  ];
  for (const [text, line, column] of cases) {
    assert.deepEqual(findJsonFault(text), { line, column }, JSON.stringify(text));
  }
});

Deno.test("findJsonFault finds nothing in what JSON.stringify writes", () => {
  fc.assert(fc.property(fc.jsonValue(), fc.constantFrom(0, 2, "\t"), (value, space) => {
    assert.equal(findJsonFault(JSON.stringify(value, null, space)), undefined);
  }));
});

Deno.test("findJsonFault finds a fault exactly where JSON.parse throws", () => {
  const token = fc.constantFrom(
    ...[
      "[",
      "]",
      "{",
      "}",
      ",",
      ":",
      '"a"',
      '"',
      "\\",
      "1",
      "-",
      "0",
      ".5",
      "e3",
      "true",
      " ",
      "\n",
    ],
    ...['{"a":', '"\\u00e9"', "\u0001", "null", "x"],
  );
  const mostlyJson = fc.tuple(fc.jsonValue(), fc.nat(), token).map(([value, at, inserted]) => {
    const text = JSON.stringify(value);
    const offset = at % (text.length + 1);
    return text.slice(0, offset) + inserted + text.slice(offset);
  });
  const soup = fc.array(token, { maxLength: 12 }).map((tokens) => tokens.join(""));
  fc.assert(
    fc.property(fc.oneof(soup, mostlyJson), (text) => {
      assert.equal(findJsonFault(text) === undefined, isJson(text), JSON.stringify(text));
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("findJsonFault takes deep nesting without running out of stack", () => {
  const depth = 200_000;
  assert.deepEqual(findJsonFault("[".repeat(depth)), { line: 1, column: depth + 1 });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

Deno.test("findDuplicateKey finds a key that one object has twice, and says where", () => {
  const found = (text: string) => {
    const { key, path, line, column } = findDuplicateKey(text)!;
    return [key, path, line, column];
  };
  assert.deepEqual(found('{"a": 1, "a": 2}'), ["a", [], 1, 10]);
  assert.deepEqual(found('[{"b": 1},\n {"id": "x", "i\\u0064": "y"}]'), ["id", [1], 2, 14]);
  assert.deepEqual(found('[{"x": [0, [{"k": 1, "k": 2}]]}]'), ["k", [0, "x", 1, 0], 1, 22]);
  assert.deepEqual(found('{"a": {"a": {"b": 0}, "c": 1, "c": 2}}'), ["c", ["a"], 1, 31]);
  assert.deepEqual(found('{"": 1, "": 2}'), ["", [], 1, 9]);
  assert.deepEqual(found('{"__proto__": 1, "__proto__": 2}'), ["__proto__", [], 1, 18]);
});

Deno.test("findDuplicateKey finds nothing in any object that has each key once", () => {
  const strange = '{"a": "a", "b": ["a", "a", {"a": "}"}], "c": {"a": ",", "b": "\\"{"}}';
  assert.equal(findDuplicateKey(strange), undefined);
  fc.assert(fc.property(fc.jsonValue(), fc.nat(4), (value, indent) => {
    assert.equal(findDuplicateKey(JSON.stringify(value, undefined, indent)), undefined);
  }));
});
