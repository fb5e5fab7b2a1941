import assert from "node:assert/strict";
import fc from "fast-check";
import { Bandwidth } from "../../../lib/relay/limits/bandwidth.ts";
import { check } from "../../protocol/property.ts";

/** A bandwidth whose clock the test moves; `check` stands for the timer. */
class Setup implements Disposable {
  nowMs = 5_000;
  readonly bandwidth: Bandwidth;
  readonly resumed: string[] = [];

  constructor(bytesPerSecond: number) {
    this.bandwidth = new Bandwidth(bytesPerSecond, () => this.nowMs);
  }

  pass(bytes: number, name: string): boolean {
    return this.bandwidth.pass(bytes, () => this.resumed.push(name));
  }

  later(ms: number): void {
    this.nowMs += ms;
    this.bandwidth.check();
  }

  /** Leaves no timer behind. */
  [Symbol.dispose](): void {
    this.later(Number.MAX_SAFE_INTEGER / 2);
  }
}

Deno.test("Bandwidth lets a second's worth pass at once, and has more wait", () => {
  using setup = new Setup(1_000);
  assert.equal(setup.pass(600, "a"), true);
  assert.equal(setup.pass(400, "b"), true);
  assert.equal(setup.pass(1, "c"), false);
  assert.equal(setup.bandwidth.debtMs, 1);
});

Deno.test("Bandwidth resumes each in its turn, when what it passed is paid for", () => {
  using setup = new Setup(1_000);
  setup.pass(1_000, "-");
  setup.pass(500, "first");
  setup.pass(100, "second");
  setup.later(499);
  assert.deepEqual(setup.resumed, []);
  setup.later(1);
  assert.deepEqual(setup.resumed, ["first"]);
  setup.later(100);
  assert.deepEqual(setup.resumed, ["first", "second"]);
  assert.equal(setup.bandwidth.debtMs, 0);
});

Deno.test("Bandwidth saves no more than a second's worth", () => {
  using setup = new Setup(1_000);
  setup.later(3_600_000);
  assert.equal(setup.pass(1_000, "a"), true);
  assert.equal(setup.pass(1, "b"), false);
});

Deno.test("Bandwidth keeps to its rate, whatever passes, and forgets nobody", () => {
  const step = fc.record({ bytes: fc.integer({ min: 1, max: 5_000 }), ms: fc.nat(2_000) });
  check(fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
    using setup = new Setup(1_000);
    const startMs = setup.nowMs;
    let total = 0;
    let waiting = 0;
    for (const [index, { bytes, ms }] of steps.entries()) {
      total += bytes;
      if (!setup.pass(bytes, String(index))) waiting++;
      const paid = total - setup.bandwidth.debtMs;
      assert.ok(paid <= setup.nowMs - startMs + 1_000 + 1e-6, `${paid} bytes are too many`);
      setup.later(ms);
    }
    setup.later(1e9);
    assert.equal(setup.resumed.length, waiting);
    assert.deepEqual(setup.resumed, setup.resumed.toSorted((a, b) => Number(a) - Number(b)));
  }));
});

Deno.test("Bandwidth sets no timer for longer than a timer can be set for", () => {
  using time = new FakeTimeouts();
  using setup = new Setup(1);
  setup.pass(10_000_000, "a");
  assert.deepEqual(time.delays, [2 ** 31 - 1]);
});

/** Notes for how long timers are set. */
class FakeTimeouts implements Disposable {
  readonly delays: (number | undefined)[] = [];
  readonly #real = globalThis.setTimeout;

  constructor() {
    globalThis.setTimeout = ((_: () => void, ms?: number) => {
      this.delays.push(ms);
      return 0;
    }) as unknown as typeof setTimeout;
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = this.#real;
  }
}
