import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeLatin1 } from "../../lib/bytes/bytes.ts";
import {
  defaultHeadLimits,
  encodeRequestHead,
  encodeResponseHead,
  type Field,
  field,
  getField,
  HeadError,
  listHas,
  type RequestHead,
} from "../../lib/http1/head.ts";
import { HeadReader, parseRequestHead, parseResponseHead } from "../../lib/http1/head_reader.ts";
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
  const folded = "400 Header line is folded, or begins with a space";
  const cases: [string, string, string][] = [
    ["no colon", "Accept", "400 Header line has no colon"],
    ["empty line in the middle", "", "400 Header line has no colon"],
    ["empty name", ": value", noToken],
    ["space in front of the colon", "Content-Length : 5", noToken],
    ["tab in front of the colon", "Content-Length\t: 5", noToken],
    ["folded line with a space", "A: b\r\n continued: c", folded],
    ["folded line with a tab", "A: b\r\n\tcontinued: c", folded],
    ["folded line without a colon", "A: b\r\n continued", folded],
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
  const malformed = "400 Status line is malformed";
  const notHttp = "400 It does not begin with HTTP/1.";
  const bare = "400 Status line ends with LF alone or holds a bare CR";
  const cases: [string, string][] = [
    ["", notHttp],
    ["HTTP/1.1", malformed],
    ["HTTP/1.1 ", malformed],
    ["HTTP/1.1 20", malformed],
    ["HTTP/1.1 2000 OK", malformed],
    ["HTTP/1.1 099 OK", malformed],
    ["HTTP/1.1  200 OK", malformed],
    ["HTTP/1.1\t200 OK", malformed],
    ["HTTP/1.1 200OK", malformed],
    ["HTTP/1.x 200 OK", malformed],
    ["HTTP/2.0 200 OK", notHttp],
    ["HTTP/1.1 -20 OK", malformed],
    ["HTTP/1.1 2 0 OK", malformed],
    ["HTTP/1.1 200 O\nK", bare],
    ["HTTP/1.1 200 O\rK", bare],
    ["ICY 200 OK", notHttp],
    [" HTTP/1.1 200 OK", notHttp],
  ];
  for (const [line, wanted] of cases) {
    const bytes = encodeLatin1(`${line}\r\nA: b\r\n\r\n`);
    const refusal = refusalOf(() => parseResponseHead(bytes, defaultHeadLimits));
    assert.equal(refusal, wanted, JSON.stringify(line));
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

/** What a reader made of pieces: heads and what came behind the last one, or the refusal. */
function readAll(pieces: readonly Uint8Array[], limits = defaultHeadLimits) {
  const reader = HeadReader.forResponses(limits);
  const heads: unknown[] = [];
  let usedBytes = 0;
  try {
    for (const piece of pieces) {
      let rest = piece;
      while (rest.length > 0) {
        const head = reader.read(rest);
        if (!head) break;
        usedBytes += reader.end;
        const behind = reader.all.subarray(reader.end);
        heads.push(head);
        rest = reader.takeRest();
        assert.deepEqual(rest, behind);
      }
    }
    return { heads, usedBytes, hasBegun: reader.hasBegun };
  } catch (error) {
    assert.ok(error instanceof HeadError, String(error));
    return { heads, usedBytes, refusal: `${error.status} ${error.message}` };
  }
}

Deno.test("HeadReader ends a head at its first empty line and leaves what is behind it", () => {
  const reader = HeadReader.forResponses(defaultHeadLimits);
  const head = reader.read(encodeLatin1("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\r\n\r\n"));
  assert.deepEqual(head, parseResponseHead(reader.all.subarray(0, reader.end), defaultHeadLimits));
  assert.deepEqual(reader.takeRest(), encodeLatin1("body\r\n\r\n"));
  assert.equal(reader.all.length, 0);
  assert.equal(reader.hasBegun, false);
});

Deno.test("HeadReader reads the same heads, and refuses the same, whatever pieces they come in", () => {
  const parts = fc.constantFrom(
    ...["HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "A: b\r\n", "\r\n", "\r", "\n"],
    ...["A: \xe4\r\n", " folded\r\n", "A : b\r\n", "no colon\r\n", "\0", "HTTP", "x"],
  );
  const split = fc.array(parts, { maxLength: 10 })
    .map((texts) => encodeLatin1(texts.join("")))
    .chain((bytes) => chunkings(bytes).map((chunks) => ({ bytes, chunks })));
  const limits = { maxBytes: 60, maxFields: 3 };
  check(
    fc.property(split, ({ bytes, chunks }) => {
      const whole = readAll([bytes], limits);
      assert.deepEqual(readAll(chunks, limits), whole);
      const single = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1));
      assert.deepEqual(readAll(single, limits), whole);
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("HeadReader refuses a head at the first byte that can't be right, without its end", () => {
  const cases: [string, string][] = [
    ["HTTP/1.1 200 OK\n", "400 Status line ends with LF alone or holds a bare CR"],
    ["HTTP/1.1 200 OK\rX", "400 Status line ends with LF alone or holds a bare CR"],
    ["HTTP/1.1 200 OK\r\nA: b\n", "400 Header line holds a bare CR or LF"],
    ["HTTP/1.1 200 OK\r\n\n", "400 Header line holds a bare CR or LF"],
    ["HTTP/1.1 200 OK\r\n ", "400 Header line is folded, or begins with a space"],
    ["HTTP/1.1 200 OK\r\nA\r\n", "400 Header line has no colon"],
    ["HTTP/1.1 200 OK\r\nA ", "400 Header name is not a token"],
    ["HTTP/1.1 200 OK\r\nA: \0", "400 Head holds a control character"],
    ["HTTP/1.1 OK\r\nA", "400 Status line is malformed"],
    ["HTTP/1.1 99 Low\r\nA", "400 Status line is malformed"],
    ["ICY", "400 It does not begin with HTTP/1."],
    ["SSH-2.0-OpenSSH_9.9\r\n", "400 It does not begin with HTTP/1."],
    ["<html>", "400 It does not begin with HTTP/1."],
    ["HTTP/2", "400 It does not begin with HTTP/1."],
    ["\x15\x03\x01", "400 It is TLS, not plain HTTP"],
    ["\x16\x03\x01", "400 It is TLS, not plain HTTP"],
  ];
  for (const [text, refusal] of cases) {
    const single = Array.from(text, encodeLatin1);
    assert.equal(readAll([encodeLatin1(text)]).refusal, refusal, JSON.stringify(text));
    assert.equal(readAll(single).refusal, refusal, JSON.stringify(text));
  }
});

Deno.test("HeadReader refuses a request line that is none before the head ends", () => {
  const reader = HeadReader.forRequests(defaultHeadLimits);
  assert.equal(
    refusalOf(() => reader.read(encodeLatin1("GET /\r\n"))),
    "400 Request line is malformed",
  );
  const patient = HeadReader.forRequests(defaultHeadLimits);
  assert.equal(patient.read(encodeLatin1("GET / HTTP/1.1\r\nHost")), undefined);
  assert.equal(patient.read(encodeLatin1(": a\r\n\r\n"))?.target, "/");
});

Deno.test("HeadReader takes time in proportion to a head's bytes, in pieces of one byte too", () => {
  const bytes = 1024 * 1024;
  const head = encodeLatin1(`HTTP/1.1 200 OK\r\nX: ${"y".repeat(bytes)}\r\n\r\n`);
  const reader = HeadReader.forResponses({ maxBytes: bytes * 2, maxFields: 2 });
  const startMs = performance.now();
  for (let at = 0; at < head.length - 1; at++) {
    assert.equal(reader.read(head.subarray(at, at + 1)), undefined);
  }
  assert.ok(reader.read(head.subarray(head.length - 1)));
  // A tenth of a second. To copy or search all that came before for each byte takes minutes.
  assert.ok(performance.now() - startMs < 20_000);
});

Deno.test("HeadReader keeps each name's own spelling, however many names have come before", () => {
  const names = Array.from({ length: 5_000 }, (_, at) => `X-${(at * 7919).toString(36)}`)
    .flatMap((name) => [name, name.toLowerCase(), name.replace("X", "Y")]);
  const reader = HeadReader.forResponses({ maxBytes: 1_000_000, maxFields: 10 });
  for (const _ of [1, 2]) {
    for (const name of names) {
      const head = reader.read(encodeLatin1(`HTTP/1.1 200 OK\r\n${name}: 1\r\n\r\n`));
      assert.deepEqual(head!.fields, [{ name, value: "1", key: name.toLowerCase() }]);
    }
  }
});

Deno.test("HeadReader for framing keeps the fields that say how an answer ends, and checks all", () => {
  const text = "HTTP/1.1 204 No\r\nServer: s\r\ncontent-LENGTH: 5\r\nConnection:close\r\n" +
    "Transfer-Encoding: \tchunked \r\n\r\n";
  const head = HeadReader.forFramingOfResponses(defaultHeadLimits).read(encodeLatin1(text))!;
  const named = head.fields.map(({ key, value }) => [key, value]);
  assert.deepEqual(named, [
    ["content-length", "5"],
    ["connection", "close"],
    ["transfer-encoding", "chunked"],
  ]);
  assert.deepEqual([head.status, head.minor], [204, 1]);
  const bad = encodeLatin1(text.replace("Server: s", "Server: \0"));
  const reader = HeadReader.forFramingOfResponses(defaultHeadLimits);
  assert.throws(() => reader.read(bad), { message: "Head holds a control character" });
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
