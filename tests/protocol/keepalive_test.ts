import assert from "node:assert/strict";
import { Keepalive } from "../../lib/protocol/keepalive.ts";
import { within } from "../support/deadline.ts";

/** Between two checks, in the milliseconds of {@link Setup}. */
const checkMs = 1_000_000;

/** A keepalive whose clock stands still; its own timer never comes within a test. */
class Setup implements Disposable {
  nowMs = 1_000_000;
  isWaited = false;
  movedBytes = 0;
  readonly pings: Uint8Array[] = [];
  readonly idleTimesMs: number[] = [];
  readonly keepalive = new Keepalive({
    nowMs: () => this.nowMs,
    pingIntervalMs: 15_000_000,
    idleTimeoutMs: 45_000_000,
    answerTimeoutMs: 5_000_000,
    isWaited: () => this.isWaited,
    movedBytes: () => this.movedBytes,
    ping: (payload) => this.pings.push(payload),
    dead: (idleMs) => this.idleTimesMs.push(idleMs),
  });

  /** Time goes by, and the timer comes as often as it does. */
  later(ms: number): void {
    for (let left = ms; left > 0; left -= checkMs) this.late(Math.min(left, checkMs));
  }

  /** Time goes by without a turn for this process, and then the timer comes. */
  late(ms: number): void {
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

Deno.test("Keepalive finds a peer dead sooner while somebody waits for it", () => {
  using setup = new Setup();
  setup.isWaited = true;
  setup.later(4_000_000);
  assert.equal(setup.pings.length, 0);
  setup.later(1_000_000);
  assert.equal(setup.pings.length, 1, "after 5 s");
  setup.later(4_000_000);
  assert.deepEqual(setup.idleTimesMs, []);
  setup.later(1_000_000);
  assert.deepEqual(setup.idleTimesMs, [10_000_000]);
});

Deno.test("Keepalive asks before it gives up a peer that had nothing to say", () => {
  using setup = new Setup();
  setup.later(14_000_000);
  setup.isWaited = true;
  setup.later(1_000_000);
  assert.equal(setup.pings.length, 1);
  setup.later(4_000_000);
  assert.deepEqual(setup.idleTimesMs, []);
  setup.later(1_000_000);
  assert.deepEqual(setup.idleTimesMs, [20_000_000]);
});

Deno.test("Keepalive takes any message for an answer", () => {
  using setup = new Setup();
  setup.isWaited = true;
  for (let count = 0; count < 10; count++) {
    setup.later(9_000_000);
    setup.keepalive.heard();
  }
  assert.deepEqual(setup.idleTimesMs, []);
});

Deno.test("Keepalive takes bytes of a message that is still coming for an answer", () => {
  using setup = new Setup();
  setup.isWaited = true;
  for (let count = 0; count < 10; count++) {
    setup.later(8_000_000);
    setup.movedBytes++;
  }
  assert.deepEqual(setup.idleTimesMs, []);
  setup.later(12_000_000);
  assert.equal(setup.idleTimesMs.length > 0, true);
});

Deno.test("Keepalive pings while a message is long in coming, and not for whole ones", () => {
  using setup = new Setup();
  for (let count = 0; count < 14; count++) {
    setup.movedBytes++;
    setup.keepalive.heard();
    setup.later(1_000_000);
  }
  assert.equal(setup.pings.length, 0);
  setup.movedBytes++;
  setup.later(1_000_000);
  assert.equal(setup.pings.length, 1);
  for (let count = 0; count < 10; count++) {
    setup.movedBytes++;
    setup.later(1_000_000);
  }
  assert.equal(setup.pings.length, 3);
});

Deno.test("Keepalive does not count time in which this process had no turn", () => {
  using setup = new Setup();
  setup.isWaited = true;
  setup.later(5_000_000);
  setup.late(100_000_000);
  assert.deepEqual(setup.idleTimesMs, [], "what came meanwhile has not been read");
  setup.later(3_000_000);
  assert.equal(setup.idleTimesMs.length, 1, "nothing came");
});

Deno.test("Keepalive.isSuspect: a ping is unanswered for 5 s, though nobody waits", () => {
  using setup = new Setup();
  setup.later(19_000_000);
  assert.equal(setup.keepalive.isSuspect, false);
  setup.later(1_000_000);
  assert.equal(setup.keepalive.isSuspect, true);
  setup.keepalive.heard();
  assert.equal(setup.keepalive.isSuspect, false);
});

Deno.test("Keepalive checks by itself until it is stopped", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const keepalive = new Keepalive({
    nowMs: () => 50,
    pingIntervalMs: 3,
    idleTimeoutMs: 0,
    answerTimeoutMs: 5,
    isWaited: () => false,
    movedBytes: () => 0,
    ping: () => {},
    dead: resolve,
  });
  try {
    assert.equal(await within(promise, "the timer to find the silence"), 0);
  } finally {
    keepalive.stop();
  }
});
