/** The reader of HTTP/1.1 heads, of requests and of responses. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeLatin1 } from "../../lib/bytes/bytes.ts";
import { requestFraming, responseFraming } from "../../lib/http1/body.ts";
import { HeadError } from "../../lib/http1/faults.ts";
import { encodeRequestHead, encodeResponseHead } from "../../lib/http1/head.ts";
import { HeadReader, parseRequestHead, parseResponseHead } from "../../lib/http1/head_reader.ts";
import { anyBytes, chunkings } from "../protocol/property.ts";
import { joined } from "../protocol/wire.ts";
import type { FuzzTarget } from "./target.ts";

const limits = { maxBytes: 400, maxFields: 8 };

/** Lines as callers, targets and attackers write them. */
const anyPiece: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 1, arbitrary: anyBytes(8) as fc.Arbitrary<Uint8Array> },
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      ...[
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 404\r\n",
      ],
      ...[
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "content-length: 05\r\n",
        "Content-Length: -1\r\n",
      ],
      ...["Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked, chunked\r\n", "A : b\r\n"],
      ...[" folded\r\n", "\tfolded\r\n", "A: b\n", "A\r\n", ": b\r\n", "A:\r\n", "A: \x80\xff\r\n"],
      ...[
        "\r\n",
        "\r",
        "\n",
        "\0",
        "\x7f",
        " ",
        ":",
        "HTTP/1.1",
        "ICY 200 OK\r\n",
        "PRI * HTTP/2.0\r\n",
      ],
    ).map((text) => encodeLatin1(text)),
  },
);
const anyHead = fc.array(anyPiece, { maxLength: 12 })
  .map((pieces) => joined(...pieces, encodeLatin1("\r\n\r\n")));

const generous = { maxBytes: 4_000, maxFields: 8 };

/** What is made of bytes, or why they are refused. */
function outcome<T>(read: () => T): T | string {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof HeadError)) throw error;
    assert.ok([400, 431, 501, 505].includes(error.status), `status ${error.status}`);
    assert.match(error.message, /^[\x20-\x7e]+$/);
    return error.message;
  }
}

/** All heads that come in pieces, one behind the other, and why the last one is refused. */
function readAll<Head>(reader: HeadReader<Head>, pieces: readonly Uint8Array[]): unknown[] {
  const heads: unknown[] = [];
  for (const piece of pieces) {
    let head = outcome(() => reader.read(piece));
    while (head !== undefined) {
      heads.push(head);
      if (typeof head === "string") return heads;
      const rest = reader.takeRest();
      head = outcome(() => reader.read(rest));
    }
  }
  return heads;
}

const inPieces = anyHead.chain((bytes) => chunkings(bytes).map((pieces) => ({ bytes, pieces })));

/** The head reader's targets. */
export const headTargets: readonly FuzzTarget[] = [
  {
    name: "request-heads",
    claim: "any bytes are heads or a refusal, the same in whatever pieces they come",
    property: () =>
      fc.property(inPieces, ({ bytes, pieces }) => {
        const whole = readAll(HeadReader.forRequests(limits), [bytes]);
        assert.deepEqual(readAll(HeadReader.forRequests(limits), pieces), whole);
      }),
  },
  {
    name: "response-heads",
    claim: "any bytes are heads or a refusal, the same in whatever pieces they come",
    property: () =>
      fc.property(inPieces, ({ bytes, pieces }) => {
        for (const reader of ["forResponses", "forFramingOfResponses"] as const) {
          const whole = readAll(HeadReader[reader](limits), [bytes]);
          assert.deepEqual(readAll(HeadReader[reader](limits), pieces), whole);
        }
      }),
  },
  {
    name: "heads-round-trip",
    claim: "a head that is accepted reads the same when it is written anew, and has one framing",
    property: () =>
      fc.property(anyHead, fc.constantFrom("GET", "HEAD"), (bytes, method) => {
        const request = outcome(() => parseRequestHead(bytes, limits));
        if (typeof request !== "string") {
          const again = encodeRequestHead(request.method, request.target, request.fields);
          const read = parseRequestHead(again, generous);
          assert.deepEqual({ ...read, minor: request.minor }, request);
          outcome(() => requestFraming(request));
        }
        const response = outcome(() => parseResponseHead(bytes, limits));
        if (typeof response === "string") return;
        const again = encodeResponseHead(response.status, response.reason, response.fields);
        const read = parseResponseHead(again, generous);
        assert.deepEqual({ ...read, minor: response.minor }, response);
        outcome(() => responseFraming(response, method));
      }),
  },
];
