import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeLatin1 } from "../../lib/bytes/bytes.ts";
import {
  defaultHeadLimits,
  encodeRequestHead,
  encodeResponseHead,
  type Field,
  field,
  findHeadEnd,
  getField,
  HeadError,
  listHas,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
} from "../../lib/http1/head.ts";
import { anyBytes, check, chunkings } from "../protocol/property.ts";
import { joined } from "../protocol/wire.ts";

const TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789" +
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** A request whose only header line, besides a good one on either side, is `line`. */
function requestWith(line: string): string {
  return `GET / HTTP/1.1\r\nHost: a\r\n${line}\r\nAccept: */*\r\n\r\n`;
}

function request(text: string, limits = defaultHeadLimits): RequestHead {
  return parseRequestHead(encodeLatin1(text), limits);
}

/** `STATUS message` of the HeadError that `parse` throws, or what it returned. */
function refusalOf(parse: () => unknown): string {
  try {
    return `accepted: ${JSON.stringify(parse())}`;
  } catch (error) {
    assert.ok(error instanceof HeadError, String(error));
    return `${error.status} ${error.message}`;
  }
}

const anyToken = fc.string({ unit: fc.constantFrom(...TOKEN_CHARACTERS), minLength: 1 });
/** What a value may hold: visible characters, spaces and tabs inside, and bytes over 0x7f. */
const anyValue = fc.array(fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f))
  .map((codes) => String.fromCharCode(...codes).replace(/^[ \t]+|[ \t]+$/g, ""));
const anyFields: fc.Arbitrary<Field[]> = fc.array(
  fc.tuple(anyToken, anyValue).map(([name, value]) => field(name, value)),
  { maxLength: 12 },
);
const anyTarget = fc.array(
  fc.integer({ min: 0x21, max: 0xff }).filter((code) => code !== 0x7f),
  { minLength: 1, maxLength: 40 },
).map((codes) => String.fromCharCode(...codes));

Deno.test("parseRequestHead reads method, target, version and fields as they are", () => {
  const head = request(
    "PATCH /a//../%2F?x=%20&y HTTP/1.1\r\nHost: h:1\r\nX-A:\t one \t\r\nx-a:two\r\nE:\r\n\r\n",
  );
  assert.deepEqual(head, {
    method: "PATCH",
    target: "/a//../%2F?x=%20&y",
    minor: 1,
    fields: [
      { name: "Host", value: "h:1", key: "host" },
      { name: "X-A", value: "one", key: "x-a" },
      { name: "x-a", value: "two", key: "x-a" },
      { name: "E", value: "", key: "e" },
    ],
  });
});

Deno.test("parseRequestHead reads a head without fields", () => {
  assert.deepEqual(request("OPTIONS * HTTP/1.0\r\n\r\n"), {
    method: "OPTIONS",
    target: "*",
    minor: 0,
    fields: [],
  });
});

Deno.test("parseRequestHead takes a later minor version for HTTP/1.1", () => {
  assert.equal(request("GET / HTTP/1.7\r\n\r\n").minor, 1);
});

Deno.test("parseRequestHead keeps spaces and colons inside a value", () => {
  assert.equal(getField(request(requestWith("A: b : c  d")).fields, "a"), "b : c  d");
});

Deno.test("parseRequestHead keeps bytes over 0x7f one for one", () => {
  const value = getField(request(requestWith("A: \x80\xa0\xff")).fields, "a");
  assert.equal(value, "\x80\xa0\xff");
});

Deno.test("parseRequestHead refuses request lines that are not exactly of the grammar", () => {
  const malformed = "400 Request line is malformed";
  const cases: [string, string][] = [
    ["", malformed],
    ["GET", malformed],
    ["GET /", malformed],
    ["GET  / HTTP/1.1", malformed],
    ["GET /  HTTP/1.1", malformed],
    ["GET / HTTP/1.1 ", malformed],
    [" GET / HTTP/1.1", malformed],
    ["GET\t/\tHTTP/1.1", malformed],
    ["GET /a b HTTP/1.1", malformed],
    ["G(T / HTTP/1.1", malformed],
    ["GET / http/1.1", malformed],
    ["GET / HTTP/1", malformed],
    ["GET / HTTP/1.10", malformed],
    ["GET / HTTP/11", malformed],
    ["GET / HTTP/1.x", malformed],
    ["GET / HTTPS/1.1", malformed],
    ["GET / HTTP/1.1\n", malformed],
    ["GET / HTTP/1.1\r", malformed],
    ["GET /\n HTTP/1.1", malformed],
    ["GET / HTTP/2.0", "505 HTTP version is not supported; must be HTTP/1.1"],
    ["GET / HTTP/0.9", "505 HTTP version is not supported; must be HTTP/1.1"],
    ["GET /\x00 HTTP/1.1", "400 Head holds a control character"],
    ["GET /\x7f HTTP/1.1", "400 Head holds a control character"],
  ];
  for (const [line, refusal] of cases) {
    const text = `${line}\r\nHost: a\r\n\r\n`;
    assert.equal(refusalOf(() => request(text)), refusal, JSON.stringify(line));
  }
});

Deno.test("parseRequestHead refuses header lines that two programs could read in two ways", () => {
  const control = "400 Head holds a control character";
  const noToken = "400 Header name is not a token";
  const bare = "400 Header line holds a bare CR or LF";
  const cases: [string, string, string][] = [
    ["no colon", "Accept", "400 Header line has no colon"],
    ["empty line in the middle", "", "400 Header line has no colon"],
    ["empty name", ": value", noToken],
    ["space in front of the colon", "Content-Length : 5", noToken],
    ["tab in front of the colon", "Content-Length\t: 5", noToken],
    ["folded line with a space", "A: b\r\n continued: c", noToken],
    ["folded line with a tab", "A: b\r\n\tcontinued: c", noToken],
    ["folded line without a colon", "A: b\r\n continued", "400 Header line has no colon"],
    ["space inside a name", "Con tent: 5", noToken],
    ["parenthesis in a name", "A(b): c", noToken],
    ["byte over 0x7f in a name", "\xc4: c", noToken],
    ["bare LF between two lines", "A: b\nContent-Length: 5", bare],
    ["bare CR between two lines", "A: b\rContent-Length: 5", bare],
    ["LF and CR swapped", "A: b\n\rC: d", bare],
    ["CR in front of CRLF", "A: b\r", bare],
    ["bare LF in a name", "A\nB: c", noToken],
    ["bare CR in a name", "A\rB: c", noToken],
    ["NUL in a value", "A: b\x00c", control],
    ["NUL in a name", "A\x00: c", control],
    ["escape in a value", "A: \x1b[2J", control],
    ["vertical tab in a value", "A: b\x0bc", control],
    ["form feed in a value", "A: b\x0cc", control],
    ["DEL in a value", "A: b\x7f", control],
  ];
  for (const [name, line, refusal] of cases) {
    assert.equal(refusalOf(() => request(requestWith(line))), refusal, name);
  }
});

Deno.test("parseRequestHead refuses every control character but tab in a value", () => {
  for (const code of [...Array(0x20).keys(), 0x7f]) {
    const head = requestWith(`A: b${String.fromCharCode(code)}c`);
    const isRefused = refusalOf(() => request(head)).startsWith("400 ");
    assert.equal(isRefused, code !== 9, `0x${code.toString(16)}`);
  }
});

Deno.test("parseRequestHead takes a head of exactly the limits and nothing over them", () => {
  const text = "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n";
  const limits = { maxBytes: text.length, maxFields: 2 };
  assert.equal(request(text, limits).fields.length, 2);
  const longer = text.replace("A: 1", "A: 11");
  assert.equal(refusalOf(() => request(longer, limits)), `431 Head is over ${text.length} bytes`);
  const more = { maxBytes: 1_000, maxFields: 1 };
  assert.equal(refusalOf(() => request(text, more)), "431 Head has over 1 fields");
});

Deno.test("parseResponseHead reads status, reason and fields as they are", () => {
  const bytes = encodeLatin1("HTTP/1.1 404 Not  Found \xe9\r\nServer: s\r\n\r\n");
  assert.deepEqual(parseResponseHead(bytes, defaultHeadLimits), {
    status: 404,
    reason: "Not  Found \xe9",
    minor: 1,
    fields: [{ name: "Server", value: "s", key: "server" }],
  });
});

Deno.test("parseResponseHead takes an empty reason with and without its space", () => {
  for (const line of ["HTTP/1.0 200 ", "HTTP/1.0 200"]) {
    const head = parseResponseHead(encodeLatin1(`${line}\r\n\r\n`), defaultHeadLimits);
    assert.deepEqual(head, { status: 200, reason: "", minor: 0, fields: [] });
  }
});

Deno.test("parseResponseHead refuses status lines that are not exactly of the grammar", () => {
  const lines = [
    "",
    "HTTP/1.1",
    "HTTP/1.1 ",
    "HTTP/1.1 20",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1 099 OK",
    "HTTP/1.1  200 OK",
    "HTTP/1.1\t200 OK",
    "HTTP/1.1 200OK",
    "HTTP/2.0 200 OK",
    "HTTP/1.1 -20 OK",
    "HTTP/1.1 200 O\nK",
    "HTTP/1.1 200 O\rK",
    "ICY 200 OK",
    " HTTP/1.1 200 OK",
  ];
  for (const line of lines) {
    const bytes = encodeLatin1(`${line}\r\nA: b\r\n\r\n`);
    const refusal = refusalOf(() => parseResponseHead(bytes, defaultHeadLimits));
    assert.equal(refusal, "400 Status line is malformed", JSON.stringify(line));
  }
});

Deno.test("parseResponseHead refuses what parseRequestHead refuses in header lines", () => {
  const lines = ["A : b", " folded: x", "A: b\nC: d", "A: b\rC: d", "A: \x00", "A", ": b"];
  for (const line of lines) {
    const bytes = encodeLatin1(`HTTP/1.1 200 OK\r\n${line}\r\n\r\n`);
    const refusal = refusalOf(() => parseResponseHead(bytes, defaultHeadLimits));
    assert.match(refusal, /^400 /, JSON.stringify(line));
  }
});

Deno.test("parseRequestHead and encodeRequestHead are each other's inverse", () => {
  check(
    fc.property(anyToken, anyTarget, anyFields, (method, target, fields) => {
      const bytes = encodeRequestHead(method, target, fields);
      const head = parseRequestHead(bytes, defaultHeadLimits);
      assert.deepEqual(head, { method, target, minor: 1, fields });
      assert.deepEqual(encodeRequestHead(head.method, head.target, head.fields), bytes);
    }),
    { numRuns: 500 },
  );
});

Deno.test("parseResponseHead and encodeResponseHead are each other's inverse", () => {
  const status = fc.integer({ min: 100, max: 999 });
  check(fc.property(status, anyValue, anyFields, (status, reason, fields) => {
    const bytes = encodeResponseHead(status, reason, fields);
    const head = parseResponseHead(bytes, defaultHeadLimits);
    assert.deepEqual(head, { status, reason, minor: 1, fields });
    assert.deepEqual(encodeResponseHead(head.status, head.reason, head.fields), bytes);
  }));
});

/** Bytes that look like a head here and there. */
const headSoup: fc.Arbitrary<Uint8Array> = fc.array(
  fc.oneof<fc.Arbitrary<Uint8Array>[]>(
    anyBytes(6),
    fc.constantFrom("\r\n", "\r", "\n", ":", " ", "\t", "\0", "GET / HTTP/1.1\r\n", "A: b\r\n")
      .map(encodeLatin1),
    fc.constantFrom("HTTP/1.1 200 OK\r\n", "Content-Length : 1\r\n", " x\r\n").map(encodeLatin1),
  ),
  { maxLength: 12 },
).map((parts) => joined(...parts));

Deno.test("parseRequestHead and parseResponseHead give a head or a HeadError for any bytes", () => {
  const limits = { maxBytes: 60, maxFields: 3 };
  check(
    fc.property(headSoup, fc.boolean(), (bytes, isEnded) => {
      const input = isEnded ? joined(bytes, encodeLatin1("\r\n\r\n")) : bytes;
      for (const parse of [parseRequestHead, parseResponseHead]) {
        try {
          const { fields } = parse(input, limits);
          assert.ok(fields.length <= limits.maxFields);
          for (const { name, value } of fields) {
            assert.match(name, /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/);
            // deno-lint-ignore no-control-regex -- None of them may have come through.
            assert.doesNotMatch(value, /[\x00-\x08\x0a-\x1f\x7f]/);
          }
        } catch (error) {
          if (!(error instanceof HeadError)) throw error;
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("findHeadEnd finds the first empty line and nothing that only resembles one", () => {
  const cases: [string, number][] = [
    ["", -1],
    ["\r\n\r", -1],
    ["\r\n\r\n", 4],
    ["a\r\n\r\nb\r\n\r\n", 5],
    ["a\n\n", -1],
    ["a\r\r\n\n", -1],
    ["a\n\r\n", -1],
    ["a\r\n\n\r\n\r\n", 8],
    ["a\r\n\r\r\n\r\n", 8],
  ];
  for (const [text, end] of cases) {
    assert.equal(findHeadEnd(encodeLatin1(text), 0), end, JSON.stringify(text));
  }
});

Deno.test("findHeadEnd finds the same end whatever chunks the bytes come in", () => {
  const parts = fc.constantFrom("\r", "\n", "\r\n", "\r\n\r", "\r\n\r\n", "a");
  const split = fc.array(parts, { maxLength: 10 })
    .map((texts) => encodeLatin1(texts.join("")))
    .chain((bytes) => chunkings(bytes).map((chunks) => ({ bytes, chunks })));
  check(
    fc.property(split, ({ bytes, chunks }) => {
      let seen: Uint8Array = new Uint8Array(0);
      let found = -1;
      for (const chunk of chunks) {
        const searchedTo = Math.max(0, seen.length - 3);
        seen = joined(seen, chunk);
        found = findHeadEnd(seen, searchedTo);
        if (found !== -1) break;
      }
      assert.equal(found, findHeadEnd(bytes, 0));
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("listHas finds a member in any case, in any of the lines, and only whole", () => {
  const fields = [field("Connection", "a"), field("connection", "Keep-Alive ,\tUPGRADE")];
  assert.equal(listHas(fields, "connection", "upgrade"), true);
  assert.equal(listHas(fields, "connection", "keep-alive"), true);
  assert.equal(listHas(fields, "connection", "a"), true);
  assert.equal(listHas(fields, "connection", "keep"), false);
  assert.equal(listHas(fields, "upgrade", "a"), false);
});

Deno.test("getField gives the first value of a name", () => {
  const fields = [field("X", "1"), field("x", "2")];
  assert.equal(getField(fields, "x"), "1");
  assert.equal(getField(fields, "y"), undefined);
});
