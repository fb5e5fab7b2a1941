/** The scanner that finds the end of a body, in chunks or with a length. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeLatin1 } from "../../lib/bytes/bytes.ts";
import { BodyError, BodyScanner, encodeChunk, lastChunk } from "../../lib/http1/body.ts";
import { anyBytes, chunkings } from "../protocol/property.ts";
import { joined } from "../protocol/wire.ts";
import type { FuzzTarget } from "./target.ts";

/** What a scanner makes of pieces: the content, where the body ends, or why it is none. */
function scanned(pieces: readonly Uint8Array[], isLenient = false): unknown {
  const scanner = new BodyScanner({ kind: "chunked" }, isLenient);
  const content: Uint8Array[] = [];
  let end = 0;
  try {
    for (const piece of pieces) {
      const offset = scanner.scan(piece, 0, (from, to) => content.push(piece.slice(from, to)));
      assert.ok(offset <= piece.length && (offset === piece.length || scanner.isDone));
      end += offset;
      if (scanner.isDone) break;
    }
  } catch (error) {
    if (!(error instanceof BodyError)) throw error;
    return error.message;
  }
  const bytes = joined(...content);
  assert.equal(scanner.contentBytes, bytes.length);
  return [[...bytes], end, scanner.isDone];
}

const anyPiece: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 1, arbitrary: anyBytes(6) as fc.Arbitrary<Uint8Array> },
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      ...["\r\n", "\r", "\n", "0", "1", "5", "f", "FF", "ffffffffffffffff", "00000", " ", "\t"],
      ...[
        ";x",
        ';a="b"',
        "ab",
        "hello",
        "0\r\n\r\n",
        "0\r\nT: t\r\n\r\n",
        "1\r\nx\r\n",
        "\0",
        "-1",
        "0x5",
      ],
    ).map((text) => encodeLatin1(text)),
  },
);

/** The scanner's targets. */
export const bodyTargets: readonly FuzzTarget[] = [
  {
    name: "chunks",
    claim: "any bytes are content or a refusal, the same in whatever pieces they come",
    property: () =>
      fc.property(
        fc.array(anyPiece, { maxLength: 14 }).map((pieces) => joined(...pieces))
          .chain((bytes) => chunkings(bytes).map((pieces) => ({ bytes, pieces }))),
        fc.boolean(),
        ({ bytes, pieces }, isLenient) =>
          assert.deepEqual(scanned(pieces, isLenient), scanned([bytes], isLenient)),
      ),
  },
  {
    name: "chunks-round-trip",
    claim: "content that is written in chunks is the content that is read, and no byte behind it",
    property: () =>
      fc.property(
        fc.array(anyBytes(60), { maxLength: 8 }).chain((contents) => {
          const body = joined(...contents.map(encodeChunk), lastChunk);
          return chunkings(joined(body, encodeLatin1("next"))).map((pieces) => ({
            content: joined(...contents),
            end: body.length,
            pieces,
          }));
        }),
        ({ content, end, pieces }) => assert.deepEqual(scanned(pieces), [[...content], end, true]),
      ),
  },
];
