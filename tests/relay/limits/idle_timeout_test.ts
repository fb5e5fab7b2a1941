import assert from "node:assert/strict";
import {
  IdleTimeout,
  type IdleTimer,
  type Transfer,
} from "../../../lib/relay/limits/idle_timeout.ts";

class FakeTransfer implements Transfer {
  moved = 0;
  stuck: string | undefined = "it stopped";
  idles = 0;

  idled(): void {
    this.idles++;
  }
}

/** A timeout whose clock the test moves; `check` stands for the timer. */
class Setup implements Disposable {
  nowMs = 1_000;
  readonly transfer = new FakeTransfer();
  readonly timeout = new IdleTimeout(10_000, () => this.nowMs);
  readonly handle: IdleTimer | undefined;

  constructor() {
    this.handle = this.timeout.start(this.transfer);
  }

  later(ms: number): number {
    this.nowMs += ms;
    this.timeout.check();
    return this.transfer.idles;
  }

  [Symbol.dispose](): void {
    this.timeout.stop(this.handle);
    this.timeout.check();
  }
}

Deno.test("IdleTimeout ends a transfer that stands still for the timeout, once", () => {
  using setup = new Setup();
  assert.equal(setup.later(9_999), 0);
  assert.equal(setup.later(1), 1);
  assert.equal(setup.later(60_000), 1);
});

Deno.test("IdleTimeout begins anew whenever something has moved", () => {
  using setup = new Setup();
  setup.later(9_999);
  setup.transfer.moved++;
  assert.equal(setup.later(1), 0);
  assert.equal(setup.later(9_999), 0);
  assert.equal(setup.later(1), 1);
});

Deno.test("IdleTimeout lets a transfer be silent that may be, and counts from when it may no more", () => {
  using setup = new Setup();
  setup.transfer.stuck = undefined;
  assert.equal(setup.later(3_600_000), 0);
  setup.transfer.stuck = "now it should move";
  assert.equal(setup.later(9_999), 0);
  assert.equal(setup.later(1), 1);
});

Deno.test("IdleTimeout leaves a transfer alone that is over, and 0 is no timeout", () => {
  using setup = new Setup();
  setup.timeout.stop(setup.handle);
  assert.equal(setup.later(60_000), 0);
  const never = new IdleTimeout(0);
  never.start(setup.transfer); // A timer would be left behind, which Deno's test runner reports.
});
