import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeLatin1 } from "../../lib/bytes/bytes.ts";
import {
  BodyError,
  BodyScanner,
  encodeChunk,
  type Framing,
  lastChunk,
  repeatsLength,
  requestFraming,
  responseFraming,
  withLengthOnce,
} from "../../lib/http1/body.ts";
import { field, HeadError } from "../../lib/http1/head.ts";
import { anyBytes, check, chunkings, cutAt } from "../protocol/property.ts";
import { joined } from "../protocol/wire.ts";

const CHUNKED: Framing = { kind: "chunked" };

/** What a scanner made of a connection's bytes. */
interface Scanned {
  /** The content, as text of one character a byte. */
  readonly content: string;
  /** How many bytes belong to the body. */
  readonly end: number;
  readonly isDone: boolean;
}

/** Feeds pieces to a new scanner as a connection does: what it leaves is not of this body. */
function scan(framing: Framing, pieces: readonly Uint8Array[]): Scanned {
  const scanner = new BodyScanner(framing);
  let content = "";
  let end = 0;
  for (const piece of pieces) {
    const used = scanner.scan(piece, 0, (from, to) => content += latin1(piece.subarray(from, to)));
    end += used;
    if (used < piece.length) break;
  }
  assert.equal(scanner.contentBytes, content.length);
  return { content, end, isDone: scanner.isDone };
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** The message of the BodyError that a chunked body is refused with. */
function refusalOf(text: string): string {
  try {
    return `accepted: ${JSON.stringify(scan(CHUNKED, [encodeLatin1(text)]))}`;
  } catch (error) {
    assert.ok(error instanceof BodyError, String(error));
    return error.message;
  }
}

/** `Name: value` lines as fields. */
function fieldsOf(lines: readonly string[]) {
  return lines.map((line) => {
    const colon = line.indexOf(":");
    return field(line.slice(0, colon), line.slice(colon + 1).trim());
  });
}

function framingOfRequest(lines: readonly string[], minor = 1): Framing {
  return requestFraming({ method: "POST", target: "/", minor, fields: fieldsOf(lines) });
}

function framingOfResponse(lines: readonly string[], status = 200, method = "GET"): Framing {
  return responseFraming({ status, reason: "", minor: 1, fields: fieldsOf(lines) }, method);
}

/** A framing, or `STATUS message` of the HeadError in its place. */
function outcome(frame: () => Framing): unknown {
  try {
    return frame();
  } catch (error) {
    assert.ok(error instanceof HeadError, String(error));
    return `${error.status} ${error.message}`;
  }
}

Deno.test("requestFraming reads lengths and codings that are plain", () => {
  const cases: [string[], Framing][] = [
    [[], { kind: "none" }],
    [["Content-Length: 0"], { kind: "none" }],
    [["Content-Length: 000"], { kind: "none" }],
    [["Content-Length: 17"], { kind: "length", bytes: 17 }],
    [["Content-Length: 007"], { kind: "length", bytes: 7 }],
    [["content-length: 999999999999999"], { kind: "length", bytes: 999_999_999_999_999 }],
    [["Transfer-Encoding: chunked"], CHUNKED],
    [["transfer-encoding: Chunked"], CHUNKED],
  ];
  for (const [lines, framing] of cases) {
    assert.deepEqual(framingOfRequest(lines), framing, lines.join(" | "));
  }
});

const NOT_A_NUMBER = "400 Content-Length is not a number";
const NOT_SUPPORTED = "501 Transfer-Encoding is not supported; must be chunked";
const BOTH = "400 Both Transfer-Encoding and Content-Length are there";

/** Heads whose body could end in two places (request smuggling), and what they are refused with. */
const AMBIGUOUS: [string[], string][] = [
  [["Content-Length: 5", "Transfer-Encoding: chunked"], BOTH],
  [["Transfer-Encoding: chunked", "Content-Length: 0"], BOTH],
  [["Content-Length: 5", "Content-Length: 5"], "400 Duplicate Content-Length"],
  [["Content-Length: 5", "content-length: 6"], "400 Duplicate Content-Length"],
  [
    ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    "400 Duplicate Transfer-Encoding",
  ],
  [
    ["Transfer-Encoding: identity", "transfer-encoding: chunked"],
    "400 Duplicate Transfer-Encoding",
  ],
  [["Content-Length: 5, 5"], NOT_A_NUMBER],
  [["Content-Length:"], NOT_A_NUMBER],
  [["Content-Length: -1"], NOT_A_NUMBER],
  [["Content-Length: +5"], NOT_A_NUMBER],
  [["Content-Length: 5.0"], NOT_A_NUMBER],
  [["Content-Length: 0x5"], NOT_A_NUMBER],
  [["Content-Length: 5e3"], NOT_A_NUMBER],
  [["Content-Length: 5 5"], NOT_A_NUMBER],
  [["Content-Length: \u00b2"], NOT_A_NUMBER],
  [["Content-Length: 1234567890123456"], NOT_A_NUMBER],
  [["Transfer-Encoding: gzip"], NOT_SUPPORTED],
  [["Transfer-Encoding: gzip, chunked"], NOT_SUPPORTED],
  [["Transfer-Encoding: chunked, chunked"], "501 Transfer-Encoding names chunked twice"],
  [["Transfer-Encoding: chunked, identity"], NOT_SUPPORTED],
  [["Transfer-Encoding: identity"], NOT_SUPPORTED],
  [["Transfer-Encoding: xchunked"], NOT_SUPPORTED],
  [["Transfer-Encoding: chunked;q=1"], NOT_SUPPORTED],
  [['Transfer-Encoding: "chunked"'], NOT_SUPPORTED],
  [["Transfer-Encoding:"], NOT_SUPPORTED],
];

Deno.test("requestFraming refuses what could be read in two ways", () => {
  for (const [lines, refusal] of AMBIGUOUS) {
    assert.equal(outcome(() => framingOfRequest(lines)), refusal, lines.join(" | "));
  }
});

Deno.test("requestFraming refuses a transfer coding in HTTP/1.0", () => {
  const refusal = outcome(() => framingOfRequest(["Transfer-Encoding: chunked"], 0));
  assert.equal(refusal, "400 Transfer-Encoding in HTTP/1.0");
});

Deno.test("responseFraming refuses what could be read in two ways, whatever it answers", () => {
  for (const [lines, refusal] of AMBIGUOUS) {
    // Equal lengths are read alike by everybody; see the next test.
    if (lines[0] === lines[1]?.replace("content", "Content")) continue;
    for (const method of ["GET", "HEAD"]) {
      const found = outcome(() => framingOfResponse(lines, 200, method));
      const differs = refusal === "400 Duplicate Content-Length";
      const wanted = differs ? `${refusal} with different values` : refusal;
      assert.equal(found, wanted, `${method}: ${lines.join(" | ")}`);
    }
  }
});

Deno.test("responseFraming takes a length that comes again with the same value", () => {
  const lines = ["Content-Length: 5", "content-length: 5", "CONTENT-LENGTH: 5"];
  assert.deepEqual(outcome(() => framingOfResponse(lines, 200, "GET")), {
    kind: "length",
    bytes: 5,
  });
  const fields = [
    field("A", "1"),
    ...lines.map((line) => field(line.slice(0, 14), "5")),
    field("B", "2"),
  ];
  assert.equal(repeatsLength({ fields }), true);
  const once = withLengthOnce(fields);
  assert.deepEqual(once.map(({ name }) => name), ["A", "Content-Length", "B"]);
  assert.equal(repeatsLength({ fields: once }), false);
});

Deno.test("responseFraming knows the answers that have no body whatever they declare", () => {
  const none: Framing = { kind: "none" };
  const cases: [string[], number, string, Framing][] = [
    [["Content-Length: 5"], 200, "HEAD", none],
    [["Transfer-Encoding: chunked"], 200, "HEAD", none],
    [[], 200, "HEAD", none],
    [["Content-Length: 5"], 204, "GET", none],
    [["Content-Length: 5"], 304, "GET", none],
    [["Content-Length: 5"], 100, "POST", none],
    [[], 103, "GET", none],
    [["Content-Length: 5"], 200, "GET", { kind: "length", bytes: 5 }],
    [["Content-Length: 0"], 200, "GET", none],
    [["Transfer-Encoding: chunked"], 404, "POST", CHUNKED],
    [[], 200, "GET", { kind: "close" }],
    [[], 500, "POST", { kind: "close" }],
  ];
  for (const [lines, status, method, framing] of cases) {
    const found = framingOfResponse(lines, status, method);
    assert.deepEqual(found, framing, `${method} ${status} ${lines}`);
  }
});

Deno.test("BodyScanner finds the end of every framing, split at every offset", () => {
  const behind = "GET /next";
  const cases: [Framing, string, string][] = [
    [{ kind: "none" }, "", ""],
    [{ kind: "length", bytes: 1 }, "x", "x"],
    [{ kind: "length", bytes: 5 }, "hello", "hello"],
    [CHUNKED, "0\r\n\r\n", ""],
    [CHUNKED, "00000\r\n\r\n", ""],
    [CHUNKED, "5\r\nhello\r\n0\r\n\r\n", "hello"],
    [CHUNKED, "000000000000A\r\n0123456789\r\n0\r\n\r\n", "0123456789"],
    [CHUNKED, "a\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n", "0123456789abc"],
    [CHUNKED, "2;ext\r\nok\r\n0;last=1\r\n\r\n", "ok"],
    [CHUNKED, '2;a="b;c\xe9\t"\r\nok\r\n0\r\n\r\n', "ok"],
    [CHUNKED, "1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", "\r\n"],
    [CHUNKED, "2\r\nok\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "ok"],
  ];
  for (const [framing, body, content] of cases) {
    const bytes = encodeLatin1(body + behind);
    const expected = { content, end: body.length, isDone: true };
    for (let first = 0; first <= bytes.length; first++) {
      const found = scan(framing, cutAt(bytes, [first]));
      assert.deepEqual(found, expected, `${JSON.stringify(body)} cut at ${first}`);
    }
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
    assert.deepEqual(scan(framing, single), expected, `${JSON.stringify(body)} byte by byte`);
  }
});

Deno.test("BodyScanner takes everything up to the end of the connection where that is the end", () => {
  const scanner = new BodyScanner({ kind: "close" });
  assert.equal(scanner.scan(encodeLatin1("0\r\n\r\n"), 0), 5);
  assert.equal(scanner.isDone, false);
  assert.equal(scanner.ended(), true);
  assert.equal(scanner.isDone, true);
  assert.equal(scanner.contentBytes, 5);
});

Deno.test("BodyScanner knows that a connection ended in the middle of a body", () => {
  const cases: [Framing, string, boolean][] = [
    [{ kind: "none" }, "", true],
    [{ kind: "length", bytes: 5 }, "hello", true],
    [{ kind: "length", bytes: 5 }, "hell", false],
    [{ kind: "length", bytes: 5 }, "", false],
    [CHUNKED, "", false],
    [CHUNKED, "2\r\nok\r\n", false],
    [CHUNKED, "2\r\nok\r\n0\r\n", false],
    [CHUNKED, "2\r\nok\r\n0\r\n\r\n", true],
  ];
  for (const [framing, text, isProper] of cases) {
    const scanner = new BodyScanner(framing);
    scanner.scan(encodeLatin1(text), 0);
    assert.equal(scanner.ended(), isProper, `${framing.kind} ${JSON.stringify(text)}`);
  }
});

Deno.test("BodyScanner begins at the offset that it is given", () => {
  const bytes = encodeLatin1("HEAD5\r\nhello\r\n0\r\n\r\nrest");
  const scanner = new BodyScanner(CHUNKED);
  const pieces: [number, number][] = [];
  assert.equal(scanner.scan(bytes, 4, (from, to) => pieces.push([from, to])), bytes.length - 4);
  assert.deepEqual(pieces, [[7, 12]]);
});

Deno.test("BodyScanner refuses a broken chunked coding with what is wrong", () => {
  const size = "Chunk size is not a hexadecimal number";
  const end = "Chunk does not end with CRLF";
  const control = "Chunk extension or trailer holds a control character";
  const cases: [string, string][] = [
    ["\r\n", size],
    ["x\r\n", size],
    ["-5\r\n", size],
    ["+5\r\n", size],
    ["0x5\r\nhello\r\n", size],
    [" 5\r\n", size],
    ["5 \r\n", size],
    ["5\t;x\r\n", size],
    [";x\r\n", size],
    ["5\n", size],
    ["5\r\nhello\r\n\r\n", size],
    ["5\rh", end],
    ["5\r\r\n", end],
    ["5;x\rh", end],
    ["5;x\nhello", control],
    ["5;\0\r\n", control],
    ["5;\x7f\r\n", control],
    ["5\r\nhelloX", end],
    ["5\r\nhello\n", end],
    ["5\r\nhello\rX", end],
    ["5\r\nhello!\r\n", end],
    ["0\r\n\rX", end],
    ["0\r\n\n", control],
    ["0\r\nX: y\n", control],
    ["0\r\nX: y\rz", end],
    ["0\r\nX: \0\r\n", control],
    ["fffffffffffff0\r\n", "Chunk size is too large"],
    ["00000000000005\r\n", "Chunk size is too large"],
  ];
  for (const [text, refusal] of cases) {
    assert.equal(refusalOf(text), refusal, JSON.stringify(text));
  }
});

/** Scans a target's body and gives what goes on, its content, or why it is refused. */
function scanLeniently(pieces: readonly Uint8Array[]): unknown {
  const scanner = new BodyScanner(CHUNKED, true);
  let [passed, content] = ["", ""];
  try {
    for (const piece of pieces) {
      const onData = (from: number, to: number) => content += latin1(piece.subarray(from, to));
      const end = scanner.scan(piece, 0, onData);
      passed += latin1(scanner.clean(piece, 0, end));
    }
  } catch (error) {
    assert.ok(error instanceof BodyError, String(error));
    return error.message;
  }
  return { passed, content, isDone: scanner.isDone };
}

Deno.test("BodyScanner for targets passes blanks behind a size and zeros in front, without the blanks", () => {
  const zeros = "0".repeat(60);
  const cases: [string, string, string][] = [
    ["5   \r\nhello\r\n0 \t\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"],
    [
      "0000000000000005\r\nhello\r\n000\r\n\r\n",
      "000005\r\nhello\r\n000\r\n\r\n",
      "hello",
    ],
    ["5 ;x=y z\r\nhello\r\n0\r\n\r\n", "5;x=y z\r\nhello\r\n0\r\n\r\n", "hello"],
    [`${zeros}1 \r\n!\r\n0\r\n\r\n`, `000001\r\n!\r\n0\r\n\r\n`, "!"],
    [
      "1  \r\n!\r\n".repeat(10_000) + "0\r\n\r\n",
      "1\r\n!\r\n".repeat(10_000) + "0\r\n\r\n",
      "!".repeat(10_000),
    ],
  ];
  for (const [text, passed, content] of cases) {
    const bytes = encodeLatin1(text);
    const wanted = { passed, content, isDone: true };
    assert.deepEqual(scanLeniently([bytes]), wanted);
    assert.deepEqual(scanLeniently(Array.from(bytes, (byte) => Uint8Array.of(byte))), wanted);
  }
});

Deno.test("BodyScanner for targets is as strict about everything else", () => {
  const size = "Chunk size is not a hexadecimal number";
  const cases: [string, string][] = [
    [" 5\r\n", size],
    ["5 5\r\n", size],
    ["5 \n", size],
    ["5 x\r\n", size],
    [" \r\n", size],
    ["5" + " ".repeat(65) + "\r\n", size],
    ["0".repeat(65) + "\r\n", size],
    ["5 \rx", "Chunk does not end with CRLF"],
    ["5\n", size],
    ["10000000000000\r\n", "Chunk size is too large"],
  ];
  for (const [text, refusal] of cases) {
    assert.equal(scanLeniently([encodeLatin1(text)]), refusal, JSON.stringify(text));
  }
});

Deno.test("BodyScanner for targets passes on what a strict one reads the same, for any bytes", () => {
  const texts = fc.constantFrom(
    "\r\n",
    "\r",
    "0",
    "5",
    " ",
    "\t",
    ";x",
    "hello",
    "0\r\n\r\n",
    "5 \r\n",
  );
  const cases = fc.array(texts, { maxLength: 14 })
    .map((parts) => encodeLatin1(parts.join("")))
    .chain((bytes) => chunkings(bytes).map((pieces) => ({ bytes, pieces })));
  check(
    fc.property(cases, ({ bytes, pieces }) => {
      const whole = scanLeniently([bytes]);
      assert.deepEqual(scanLeniently(pieces), whole);
      if (typeof whole === "string") return;
      const { passed, content, isDone } = whole as {
        passed: string;
        content: string;
        isDone: boolean;
      };
      const strict = scan(CHUNKED, [encodeLatin1(passed)]);
      assert.deepEqual(strict, { content, end: passed.length, isDone });
    }),
    { numRuns: 3_000 },
  );
});

Deno.test("BodyScanner takes the largest size that is exact as a number", () => {
  const scanner = new BodyScanner(CHUNKED);
  scanner.scan(encodeLatin1("fffffffffffff\r\nabc"), 0);
  assert.equal(scanner.contentBytes, 3);
  assert.equal(scanner.isDone, false);
});

Deno.test("BodyScanner bounds the extensions and trailers of a whole body", () => {
  const limit = 16 * 1024;
  const refusal = `Chunk extensions and trailers are over ${limit} bytes`;
  const extension = "1;" + "e".repeat(limit / 2) + "\r\nx\r\n";
  const trailer = (length: number) => "0\r\n" + "t".repeat(length) + "\r\n\r\n";
  assert.match(refusalOf(extension + trailer(limit / 2)), /^accepted/);
  assert.equal(refusalOf(extension + trailer(limit / 2 + 1)), refusal);
  assert.equal(refusalOf("0;" + "e".repeat(limit + 1)), refusal);
  assert.equal(refusalOf("1;ee\r\nx\r\n".repeat(limit / 2 + 1)), refusal);
});

Deno.test("encodeChunk gives nothing for nothing, as an empty chunk would end the body", () => {
  assert.deepEqual(encodeChunk(new Uint8Array(0)), new Uint8Array(0));
});

Deno.test("BodyScanner gives the content of what encodeChunk wrote, whatever chunks it comes in", () => {
  const contents = fc.array(anyBytes(40), { maxLength: 6 });
  const cases = contents.chain((contents) => {
    const body = joined(...contents.map(encodeChunk), lastChunk);
    const behind = encodeLatin1("next");
    return chunkings(joined(body, behind)).map((pieces) => ({ contents, body, pieces }));
  });
  check(
    fc.property(cases, ({ contents, body, pieces }) => {
      const expected = { content: latin1(joined(...contents)), end: body.length, isDone: true };
      assert.deepEqual(scan(CHUNKED, pieces), expected);
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("BodyScanner gives content or a BodyError for any bytes, the same for any chunking", () => {
  const texts = fc.constantFrom("\r\n", "\r", "\n", "0", "5", "f", ";x", "ab", "0\r\n\r\n", "\0");
  const cases = fc.array(texts, { maxLength: 12 })
    .map((parts) => encodeLatin1(parts.join("")))
    .chain((bytes) => chunkings(bytes).map((pieces) => ({ bytes, pieces })));
  const outcomeOf = (pieces: Uint8Array[]): unknown => {
    try {
      return scan(CHUNKED, pieces);
    } catch (error) {
      if (!(error instanceof BodyError)) throw error;
      return error.message;
    }
  };
  check(
    fc.property(cases, ({ bytes, pieces }) => {
      assert.deepEqual(outcomeOf(pieces), outcomeOf([bytes]));
    }),
    { numRuns: 2_000 },
  );
});
