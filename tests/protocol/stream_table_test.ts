import assert from "node:assert/strict";
import fc from "fast-check";
import type { Stream } from "../../lib/protocol/stream.ts";
import { StreamTable } from "../../lib/protocol/stream_table.ts";
import { check } from "./property.ts";

/** All that a table knows of a stream. */
function streamOf(id: number): Stream {
  return { id, nextInSlot: undefined } as Stream;
}

/** Ids that often meet in a slot, among them the largest. */
const ids = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: 1, max: 40 }).map((n) => n * 256),
  fc.integer({ min: 0, max: 20 }).map((n) => 0xffffffff - n),
);

Deno.test("StreamTable has what a Map would have, whatever comes and goes", () => {
  check(fc.property(fc.array(ids, { maxLength: 600 }), (sequence) => {
    const table = new StreamTable();
    const expected = new Map<number, Stream>();
    for (const id of sequence) {
      const known = expected.get(id);
      assert.equal(table.get(id), known);
      if (known) {
        table.delete(known);
        expected.delete(id);
        assert.equal(known.nextInSlot, undefined, "it leads nowhere any more");
      } else {
        const stream = streamOf(id);
        table.add(stream);
        expected.set(id, stream);
      }
      assert.equal(table.size, expected.size);
    }
    assert.deepEqual(new Set(table.toArray()), new Set(expected.values()));
    for (const [id, stream] of expected) assert.equal(table.get(id), stream);
  }));
});

Deno.test("StreamTable leaves another stream of the same id alone", () => {
  const table = new StreamTable();
  const stream = streamOf(7);
  table.add(stream);
  table.delete(streamOf(7));
  assert.equal(table.get(7), stream);
  assert.equal(table.size, 1);
});
