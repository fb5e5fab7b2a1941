import assert from "node:assert/strict";
import fc from "fast-check";
import { backoffMs, refusedBackoffMs } from "../../lib/agent/backoff.ts";
import { check } from "../protocol/property.ts";

/** The largest value below 1. */
const ALMOST_ONE = 1 - Number.EPSILON / 2;

const anyRandom = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

Deno.test("backoffMs doubles its bound from half a second up to the limit", () => {
  const bounds = [0, 1, 2, 3, 4, 5, 6, 7, 8].map((attempt) =>
    Math.round(backoffMs(attempt, 60_000, () => ALMOST_ONE))
  );
  assert.deepEqual(bounds, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
});

Deno.test("backoffMs spreads over everything from nothing to its bound", () => {
  const waits = [0, 0.25, 0.5, 0.75].map((random) => backoffMs(2, 60_000, () => random));
  assert.deepEqual(waits, [0, 500, 1_000, 1_500]);
});

Deno.test("backoffMs keeps to a limit below its first bound", () => {
  assert.equal(backoffMs(0, 100, () => 0.5), 50);
});

Deno.test("backoffMs stays within its bound after any number of attempts", () => {
  const attempts = fc.oneof(fc.nat(100), fc.nat());
  check(fc.property(attempts, fc.nat(3_600_000), anyRandom, (attempt, maxMs, random) => {
    const ms = backoffMs(attempt, maxMs, () => random);
    assert.ok(ms >= 0 && ms <= maxMs, `${ms}`);
  }));
});

Deno.test("refusedBackoffMs waits for half the limit at least, and never longer than it", () => {
  assert.equal(refusedBackoffMs(60_000, () => 0), 30_000);
  check(fc.property(fc.nat(3_600_000), anyRandom, (maxMs, random) => {
    const ms = refusedBackoffMs(maxMs, () => random);
    assert.ok(ms >= maxMs / 2 && ms <= maxMs, `${ms}`);
  }));
});
