import assert from "node:assert/strict";
import { Shares } from "../../lib/bytes/shares.ts";

/** Shares of something, and how often all were released. */
function counted() {
  const state = { unused: 0 };
  return { state, shares: new Shares(() => state.unused++) };
}

Deno.test("Shares call back once the first and all other users have released theirs", () => {
  const { state, shares } = counted();
  const users = [shares.take(), shares.take()];
  users[1]!();
  shares.release();
  assert.equal(state.unused, 0);
  users[0]!();
  assert.equal(state.unused, 1);
});

Deno.test("Shares count a user's release once", () => {
  const { state, shares } = counted();
  const [one, two] = [shares.take(), shares.take()];
  one();
  one();
  one();
  shares.release();
  assert.equal(state.unused, 0);
  two();
  assert.equal(state.unused, 1);
});

Deno.test("Shares never call back while a user keeps one", () => {
  const { state, shares } = counted();
  shares.keep();
  shares.take()();
  shares.release();
  assert.equal(state.unused, 0);
});

Deno.test("Shares free an array's memory, and none of an array that is a part of another", () => {
  const bytes = new Uint8Array(64 * 1024);
  assert.equal(Shares.of(bytes.subarray(1)), undefined);
  Shares.of(bytes)!.release();
  assert.equal(bytes.length, 0);
});
