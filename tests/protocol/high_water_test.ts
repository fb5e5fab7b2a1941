import assert from "node:assert/strict";
import { HighWater } from "../../lib/protocol/high_water.ts";

const KIB = 1024;

/** A line that is full and takes `bytesPerMs`, for so long. */
function run(highWater: HighWater, bytesPerMs: number, fromMs: number, toMs: number): void {
  for (let ms = fromMs; ms <= toMs; ms++) highWater.taken(ms, ms * bytesPerMs, 1);
}

Deno.test("HighWater lets 512 KiB wait for a line whose rate is not known", () => {
  const highWater = new HighWater();
  assert.equal(highWater.bytes, 512 * KIB);
  run(highWater, 1, 0, 19);
  assert.equal(highWater.bytes, 512 * KIB);
});

Deno.test("HighWater lets what the line takes in 5 ms wait, between 128 and 512 KiB", () => {
  for (
    const [bytesPerMs, bytes] of [[1_000, 128 * KIB], [50_000, 250_000], [1e6, 512 * KIB]] as const
  ) {
    const highWater = new HighWater();
    run(highWater, bytesPerMs, 0, 200);
    assert.equal(highWater.bytes, bytes, `${bytesPerMs} bytes/ms`);
  }
});

Deno.test("HighWater falls by half at the most, and rises at once", () => {
  const highWater = new HighWater();
  run(highWater, 0, 0, 20);
  assert.equal(highWater.bytes, 256 * KIB);
  run(highWater, 0, 21, 40);
  assert.equal(highWater.bytes, 128 * KIB);
  highWater.taken(1_000, 0, 0);
  run(highWater, 80_000, 1_001, 1_021);
  assert.equal(highWater.bytes, 400_000);
});

Deno.test("HighWater learns nothing from a line that idles", () => {
  const highWater = new HighWater();
  for (let ms = 0; ms < 1_000; ms++) highWater.taken(ms, ms, ms % 10 === 0 ? 0 : 1);
  assert.equal(highWater.bytes, 512 * KIB);
});
