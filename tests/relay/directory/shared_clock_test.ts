import assert from "node:assert/strict";
import { SharedClock } from "../../../lib/relay/directory/shared_clock.ts";

/** A clock at 1,000 s, and a store's that replies after `roundTripMs`. */
class Setup {
  nowMs = 1_000_000;
  readonly clock = new SharedClock(() => this.nowMs);

  /** @param sharedMs What the store's clock says half way. */
  ask(sharedMs: number, roundTripMs: number): boolean {
    const askedMs = this.nowMs;
    this.nowMs += roundTripMs;
    const reply = [`${Math.floor(sharedMs / 1_000)}`, `${(sharedMs % 1_000) * 1_000}`];
    return this.clock.read(reply, askedMs);
  }
}

Deno.test("SharedClock leaves times alone until it knows the store's", () => {
  const { clock } = new Setup();
  assert.deepEqual([clock.toShared(5), clock.toOwn(5)], [5, 5]);
});

Deno.test("SharedClock tells times on the store's clock and back, without the time of the way", () => {
  const setup = new Setup();
  setup.ask(980_010, 20);
  assert.equal(setup.clock.toShared(1_000_500), 980_500);
  assert.equal(setup.clock.toOwn(980_500), 1_000_500);
});

Deno.test("SharedClock keeps the reply that came fastest", () => {
  const setup = new Setup();
  setup.ask(980_001, 2);
  // On this reply's way back it was held up for 400 ms.
  assert.equal(setup.ask(980_002 + 10, 420), false);
  assert.equal(setup.clock.toShared(1_000_000), 980_000);
});

Deno.test("SharedClock takes a store's clock that was set, and says so", () => {
  const setup = new Setup();
  setup.ask(980_001, 2);
  assert.equal(setup.ask(1_500_003, 2), true);
  assert.equal(setup.clock.toShared(1_000_000), 1_500_000);
  assert.equal(setup.ask(1_500_005, 2), false);
});

Deno.test("SharedClock lets a reply pass that is no time", () => {
  const { clock } = new Setup();
  const wrong: unknown[] = [null, 7, "OK", [], ["1"], ["x", "1"], ["-5", "0"], ["1", "2", "3"]];
  for (const reply of wrong) assert.equal(clock.read(reply, 0), false);
  assert.equal(clock.toShared(5), 5);
});
