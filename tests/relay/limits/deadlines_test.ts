import assert from "node:assert/strict";
import { Deadlines } from "../../../lib/relay/limits/deadlines.ts";
import { within } from "../../support/deadline.ts";

/** Deadlines of an hour, on a clock that the test moves; their own timer never comes. */
class Setup implements Disposable {
  nowMs = 1_000;
  readonly expired: string[] = [];
  readonly deadlines = new Deadlines(3_600_000, () => this.nowMs);

  begin(name: string) {
    return this.deadlines.begin(() => this.expired.push(name));
  }

  later(ms: number): void {
    this.nowMs += ms;
    this.deadlines.check();
  }

  [Symbol.dispose](): void {
    this.later(3_600_000);
  }
}

Deno.test("Deadlines expires a deadline once, after its time", () => {
  using setup = new Setup();
  setup.begin("a");
  setup.later(3_599_999);
  assert.deepEqual(setup.expired, []);
  setup.later(1);
  setup.later(3_600_000);
  assert.deepEqual(setup.expired, ["a"]);
});

Deno.test("Deadlines expires each deadline by its own time, the oldest first", () => {
  using setup = new Setup();
  for (const name of ["a", "b", "c"]) {
    setup.begin(name);
    setup.nowMs += 1_000;
  }
  setup.later(3_600_000 - 2_000);
  assert.deepEqual(setup.expired, ["a", "b"]);
  setup.later(1_000);
  assert.deepEqual(setup.expired, ["a", "b", "c"]);
});

Deno.test("Deadlines does not expire a deadline that has ended", () => {
  using setup = new Setup();
  const deadline = setup.begin("a");
  setup.begin("b");
  setup.deadlines.end(deadline);
  setup.deadlines.end(deadline);
  setup.later(3_600_000);
  assert.deepEqual(setup.expired, ["b"]);
});

Deno.test("Deadlines lets a deadline begin while another expires", () => {
  using setup = new Setup();
  setup.deadlines.begin(() => setup.begin("second"));
  setup.later(3_600_000);
  setup.later(3_599_999);
  assert.deepEqual(setup.expired, []);
  setup.later(1);
  assert.deepEqual(setup.expired, ["second"]);
});

Deno.test("Deadlines of 0 never expires", () => {
  const deadlines = new Deadlines(0);
  const deadline = deadlines.begin(() => assert.fail("expired"));
  deadlines.check();
  deadlines.end(deadline);
});

Deno.test("Deadlines comes by itself, and leaves no timer behind", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  new Deadlines(20).begin(resolve);
  await within(promise, "the deadline to expire");
});
