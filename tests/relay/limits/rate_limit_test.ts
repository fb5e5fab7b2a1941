import assert from "node:assert/strict";
import fc from "fast-check";
import { RateLimit } from "../../../lib/relay/limits/rate_limit.ts";
import { check } from "../../protocol/property.ts";

/** A limit whose clock the test moves. */
class Setup {
  nowMs = 5_000;
  readonly limit: RateLimit;

  constructor(perSecond: number) {
    this.limit = new RateLimit(perSecond, () => this.nowMs);
  }

  /** How many of so many requests are admitted, `ms` later. */
  admitted(requests: number, ms = 0): number {
    this.nowMs += ms;
    let count = 0;
    for (let index = 0; index < requests; index++) if (this.limit.admits()) count++;
    return count;
  }
}

Deno.test("RateLimit admits as many requests at once as in a second", () => {
  assert.equal(new Setup(10).admitted(100), 10);
});

Deno.test("RateLimit admits one more for each part of a second that went by", () => {
  const setup = new Setup(10);
  setup.admitted(100);
  assert.equal(setup.admitted(100, 99), 0);
  assert.equal(setup.admitted(100, 1), 1);
  assert.equal(setup.admitted(100, 250), 2);
  assert.equal(setup.admitted(100, 50), 1);
});

Deno.test("RateLimit saves no more than a second's worth", () => {
  const setup = new Setup(10);
  setup.admitted(100);
  assert.equal(setup.admitted(100, 3_600_000), 10);
});

Deno.test("RateLimit below one a second admits one at a time", () => {
  const setup = new Setup(0.5);
  assert.equal(setup.admitted(10), 1);
  assert.equal(setup.admitted(10, 1_999), 0);
  assert.equal(setup.admitted(10, 1), 1);
});

Deno.test("RateLimit of 0 admits everything", () => {
  assert.equal(new Setup(0).admitted(10_000), 10_000);
});

Deno.test("RateLimit never admits more than its rate allows, whenever requests come", () => {
  const arrivals = fc.array(fc.tuple(fc.nat(2_000), fc.nat(30)), { maxLength: 40 });
  check(fc.property(fc.integer({ min: 1, max: 20 }), arrivals, (perSecond, arrivals) => {
    const setup = new Setup(perSecond);
    const startMs = setup.nowMs;
    let admitted = 0;
    for (const [ms, requests] of arrivals) {
      admitted += setup.admitted(requests, ms);
      const seconds = (setup.nowMs - startMs) / 1_000;
      assert.ok(admitted <= perSecond * (1 + seconds) + 1e-6, `${admitted} in ${seconds} s`);
    }
  }));
});
