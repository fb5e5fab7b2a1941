import assert from "node:assert/strict";
import fc from "fast-check";
import { backoffMs, inWords, refusedBackoffMs } from "../../lib/agent/backoff.ts";
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

Deno.test("refusedBackoffMs tries every few seconds at first, and slowly once nobody corrects it", () => {
  const bounds = [0, 1, 2, 3, 4, 100].map((count) =>
    Math.round(refusedBackoffMs({ count, sinceMs: 299_000 }, 60_000, () => ALMOST_ONE))
  );
  assert.deepEqual(bounds, [2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  assert.equal(refusedBackoffMs({ count: 40, sinceMs: 300_000 }, 60_000, () => 0), 30_000);
});

Deno.test("refusedBackoffMs waits for half its bound at least, and never longer than the limit", () => {
  assert.equal(refusedBackoffMs({ count: 0, sinceMs: 0 }, 60_000, () => 0), 1_000);
  check(fc.property(
    ...[fc.nat(), fc.nat(3_600_000), fc.nat(3_600_000), anyRandom] as const,
    (count, sinceMs, maxMs, random) => {
      const ms = refusedBackoffMs({ count, sinceMs }, maxMs, () => random);
      assert.ok(ms >= Math.min(2_000, maxMs) / 2 && ms <= maxMs, `${ms}`);
    },
  ));
});

Deno.test("inWords says a wait as a person would", () => {
  const waits = [0, 999, 1_000, 8_400, 60_000, 119_499, 300_000, 3_600_000];
  assert.deepEqual(waits.map(inWords), [
    ...["in less than 1 s", "in less than 1 s", "in 1 s", "in 8 s", "in 60 s", "in 119 s"],
    ...["in 5 min", "in 60 min"],
  ]);
});
