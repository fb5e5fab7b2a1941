import assert from "node:assert/strict";
import { IdleWatch, type Watch, type Watched } from "../../../lib/relay/limits/idle_watch.ts";

class Transfer implements Watched {
  moved = 0;
  stuck: string | undefined = "it stopped";
  idles = 0;

  idled(): void {
    this.idles++;
  }
}

/** A watch whose clock the test moves; `check` stands for the timer. */
class Setup implements Disposable {
  nowMs = 1_000;
  readonly transfer = new Transfer();
  readonly watch = new IdleWatch(10_000, () => this.nowMs);
  readonly handle: Watch | undefined;

  constructor() {
    this.handle = this.watch.watch(this.transfer);
  }

  later(ms: number): number {
    this.nowMs += ms;
    this.watch.check();
    return this.transfer.idles;
  }

  [Symbol.dispose](): void {
    this.watch.forget(this.handle);
    this.watch.check();
  }
}

Deno.test("IdleWatch ends a transfer that stands still for the timeout, once", () => {
  using setup = new Setup();
  assert.equal(setup.later(9_999), 0);
  assert.equal(setup.later(1), 1);
  assert.equal(setup.later(60_000), 1);
});

Deno.test("IdleWatch begins anew whenever something has moved", () => {
  using setup = new Setup();
  setup.later(9_999);
  setup.transfer.moved++;
  assert.equal(setup.later(1), 0);
  assert.equal(setup.later(9_999), 0);
  assert.equal(setup.later(1), 1);
});

Deno.test("IdleWatch lets a transfer be silent that may be, and counts from when it may no more", () => {
  using setup = new Setup();
  setup.transfer.stuck = undefined;
  assert.equal(setup.later(3_600_000), 0);
  setup.transfer.stuck = "now it should move";
  assert.equal(setup.later(9_999), 0);
  assert.equal(setup.later(1), 1);
});

Deno.test("IdleWatch leaves a transfer alone that is over, and 0 is no timeout", () => {
  using setup = new Setup();
  setup.watch.forget(setup.handle);
  assert.equal(setup.later(60_000), 0);
  const never = new IdleWatch(0);
  never.watch(setup.transfer); // A timer would be left behind, which Deno's test runner reports.
});
