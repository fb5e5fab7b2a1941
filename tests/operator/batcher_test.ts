/** When batches are handled. Times are those of the operator at Cloudflare. */
import assert from "node:assert/strict";
import { Batcher } from "../../lib/operator/dns/batcher.ts";
import { ManualClock } from "../support/manual_clock.ts";

const timing = { quietMs: 1_000, maxQuietMs: 5_000, maxMs: 15_000 };

/** Remembers when what was handled. @param handlingMs How long each handling takes. */
function batch(handlingMs = 0) {
  const clock = new ManualClock();
  const handled: [number, number][] = [];
  const batcher = new Batcher<number>(timing, clock, (items) => {
    handled.push([clock.nowMs(), items.length]);
    if (handlingMs === 0) return Promise.resolve();
    return new Promise((resolve) => clock.after(handlingMs, resolve));
  });
  return { clock, handled, batcher };
}

Deno.test("one alone is handled after a second", async () => {
  const { clock, handled, batcher } = batch();
  batcher.add(1);
  await clock.pass(999);
  assert.deepEqual(handled, []);
  assert.equal(batcher.isIdle, false);
  await clock.pass(1);
  assert.deepEqual(handled, [[1_000, 1]]);
  assert.equal(batcher.isIdle, true);
});

Deno.test("those that keep coming are handled together, and the first waits 15 seconds at most", async () => {
  const { clock, handled, batcher } = batch();
  for (let count = 0; count < 50; count++) {
    batcher.add(count);
    await clock.pass(500);
  }
  await clock.pass(60_000);
  // The first of the rest came at 15 s, the last at 24.5 s; the zone is busy, so it takes 2 s longer.
  assert.deepEqual(handled, [[15_000, 30], [26_500, 20]]);
});

Deno.test("while they come again and again, the pause after which they are handled grows to five seconds", async () => {
  const { clock, handled, batcher } = batch();
  for (let count = 0; count < 5; count++) {
    batcher.add(count);
    await clock.pass(6_000);
  }
  assert.deepEqual(handled.map(([atMs], index) => atMs - 6_000 * index), [
    ...[1_000, 2_000, 4_000, 5_000, 5_000],
  ]);
  await clock.pass(15_000);
  batcher.add(5);
  await clock.pass(1_000);
  assert.equal(handled.length, 6, "after a while without any, it is a second again");
});

Deno.test("one lot is handled at a time, and what comes meanwhile is the next one", async () => {
  const { clock, handled, batcher } = batch(10_000);
  batcher.add(1);
  await clock.pass(2_000);
  batcher.add(2);
  batcher.add(3);
  await clock.pass(8_999);
  assert.equal(handled.length, 1);
  await clock.pass(1);
  assert.deepEqual(handled, [[1_000, 1], [11_000, 2]]);
});
