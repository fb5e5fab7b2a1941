import assert from "node:assert/strict";
import {
  holdersOf,
  type Lease,
  leaseSchema,
  parseRecord,
} from "../../../lib/relay/directory/lease_record.ts";

function lease(relay: string, sinceMs: number, more: Partial<Lease> = {}): Lease {
  return { relay, number: 1, slot: 0, sinceMs, renewedMs: sinceMs, ...more };
}

const urls = new Map(["a", "b", "c"].map((relay) => [relay, `http://${relay}:1`]));

function relaysOf(...leases: Lease[]): string[] {
  return holdersOf(leases, urls).map(({ relay }) => relay);
}

Deno.test("holdersOf puts the newest session's relay first, each relay once", () => {
  const leases = [lease("a", 1), lease("b", 3), lease("a", 4, { number: 2 }), lease("c", 2)];
  assert.deepEqual(relaysOf(...leases), ["a", "b", "c"]);
});

Deno.test("holdersOf leaves out relays that are not alive", () => {
  assert.deepEqual(relaysOf(lease("gone", 9), lease("a", 1)), ["a"]);
});

Deno.test("holdersOf counts the newer of two claims of one connection", () => {
  const moved = [lease("a", 1, { instance: "x" }), lease("b", 2, { instance: "x" })];
  assert.deepEqual(relaysOf(...moved), ["b"]);
  const another = lease("a", 1, { instance: "x", slot: 1, number: 2 });
  assert.deepEqual(relaysOf(...moved, another), ["b", "a"]);
  assert.deepEqual(relaysOf(lease("a", 1), lease("b", 2)), ["b", "a"], "version 1 has no instance");
});

Deno.test("holdersOf gives all relays the same order, whatever the order of the leases", () => {
  const tied = [
    lease("a", 5, { instance: "x" }),
    lease("c", 5, { instance: "x" }),
    lease("b", 5, { instance: "y" }),
  ];
  assert.deepEqual(relaysOf(...tied), ["c", "b"]);
  assert.deepEqual(relaysOf(...tied.toReversed()), ["c", "b"]);
});

Deno.test("parseRecord takes what a relay writes and nothing else", () => {
  const right = lease("a", 1, { instance: "x" });
  assert.deepEqual(parseRecord(leaseSchema, JSON.stringify(right)), right);
  const wrong: unknown[] = [null, 7, "", "{", "null", "[]", JSON.stringify([right])];
  for (const change of [{ relay: "a/b" }, { number: 0 }, { slot: 256 }, { sinceMs: "1" }]) {
    wrong.push(JSON.stringify({ ...right, ...change }));
  }
  for (const value of wrong) assert.equal(parseRecord(leaseSchema, value), undefined);
});
