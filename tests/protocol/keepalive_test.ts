import assert from "node:assert/strict";
import { Keepalive } from "../../lib/protocol/keepalive.ts";
import { within } from "../support/deadline.ts";

/** A keepalive whose clock stands still; its own timer never comes within a test. */
class Setup implements Disposable {
  nowMs = 1_000_000;
  readonly pings: Uint8Array[] = [];
  readonly idleTimesMs: number[] = [];
  readonly keepalive = new Keepalive({
    nowMs: () => this.nowMs,
    pingIntervalMs: 15_000_000,
    idleTimeoutMs: 45_000_000,
    ping: (payload) => this.pings.push(payload),
    dead: (idleMs) => this.idleTimesMs.push(idleMs),
  });

  /** Time goes by, and the timer comes. */
  later(ms: number): void {
    this.nowMs += ms;
    this.keepalive.check();
  }

  [Symbol.dispose](): void {
    this.keepalive.stop();
  }
}

Deno.test("Keepalive pings once in each interval, with 8 bytes", () => {
  using setup = new Setup();
  setup.later(14_999_999);
  assert.equal(setup.pings.length, 0);
  setup.later(1);
  setup.later(5_000_000);
  assert.deepEqual(setup.pings.map(({ length }) => length), [8]);
});

Deno.test("Keepalive takes the time until the echo for the round trip", () => {
  using setup = new Setup();
  setup.keepalive.probe();
  setup.nowMs += 37;
  setup.keepalive.ponged(setup.pings[0]!);
  assert.equal(setup.keepalive.roundTripMs, 37);
});

Deno.test("Keepalive keeps the shortest round trip beside the last one", () => {
  using setup = new Setup();
  for (const ms of [30, 20, 50]) {
    setup.keepalive.probe();
    setup.nowMs += ms;
    setup.keepalive.ponged(setup.pings.at(-1)!);
  }
  assert.equal(setup.keepalive.roundTripMs, 50);
  assert.equal(setup.keepalive.minRoundTripMs, 20);
});

Deno.test("Keepalive ignores an echo of anything but its last ping", () => {
  using setup = new Setup();
  setup.keepalive.probe();
  setup.nowMs += 10;
  setup.keepalive.probe();
  setup.nowMs += 10;
  const [late] = setup.pings;
  for (const payload of [late!, new Uint8Array(8), new Uint8Array(0), new Uint8Array(9)]) {
    setup.keepalive.ponged(payload);
  }
  assert.equal(setup.keepalive.roundTripMs, 0);
});

Deno.test("Keepalive reads an echo that lies inside a larger message", () => {
  using setup = new Setup();
  setup.keepalive.probe();
  setup.nowMs += 12;
  const message = new Uint8Array(13);
  message.set(setup.pings[0]!, 5);
  setup.keepalive.ponged(message.subarray(5));
  assert.equal(setup.keepalive.roundTripMs, 12);
});

Deno.test("Keepalive reports a peer that was silent for the idle timeout", () => {
  using setup = new Setup();
  setup.later(44_999_999);
  assert.deepEqual(setup.idleTimesMs, []);
  setup.later(1);
  assert.deepEqual(setup.idleTimesMs, [45_000_000]);
});

Deno.test("Keepalive counts silence from the last message", () => {
  using setup = new Setup();
  setup.nowMs += 40_000_000;
  setup.keepalive.heard();
  setup.later(44_999_999);
  assert.deepEqual(setup.idleTimesMs, []);
});

Deno.test("Keepalive does not take silence for death while we do not read", () => {
  using setup = new Setup();
  setup.keepalive.isPaused = true;
  setup.later(90_000_000);
  assert.deepEqual(setup.idleTimesMs, []);
});

Deno.test("Keepalive checks by itself until it is stopped", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const keepalive = new Keepalive({
    nowMs: () => 50,
    pingIntervalMs: 3,
    idleTimeoutMs: 0,
    ping: () => {},
    dead: resolve,
  });
  try {
    assert.equal(await within(promise, "the timer to find the silence"), 0);
  } finally {
    keepalive.stop();
  }
});
