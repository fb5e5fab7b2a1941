import assert from "node:assert/strict";
import { AuthThrottle, type ReplyDelay } from "../../lib/relay/auth_throttle.ts";

/** A throttle with a clock that the test sets. */
class Setup {
  nowMs = 0;
  readonly throttle = new AuthThrottle(() => this.nowMs);

  add(address: string, times = 1): ReplyDelay {
    let delay: ReplyDelay = { kind: "now" };
    for (let count = 0; count < times; count++) delay = this.throttle.add(address);
    return delay;
  }
}

Deno.test("AuthThrottle: failures are answered at once, then late, then not any more", () => {
  const setup = new Setup();
  const paces = Array.from({ length: 43 }, () => setup.add("10.0.0.1").kind);
  assert.deepEqual(paces, [
    ...Array(10).fill("now"),
    ...Array(32).fill("later"),
    "never",
  ]);
  assert.equal(setup.add("10.0.0.2").kind, "now", "another address is not slowed down");
});

Deno.test("Failures: a place is free again once an answer that waited is out", () => {
  const setup = new Setup();
  setup.add("10.0.0.1", 41);
  const last = setup.add("10.0.0.1");
  assert.ok(last.kind === "later");
  assert.equal(last.ms, 1_000);
  assert.equal(setup.add("10.0.0.1").kind, "never");
  last.done();
  assert.equal(setup.add("10.0.0.1").kind, "later");
});

Deno.test("AuthThrottle: failures are forgiven, one a second, however many there were", () => {
  const setup = new Setup();
  setup.add("10.0.0.1", 10);
  setup.nowMs = 1_000;
  assert.equal(setup.add("10.0.0.1").kind, "now");
  assert.equal(setup.add("10.0.0.1").kind, "later");
  setup.add("10.0.0.1", 10_000);
  setup.nowMs += 60_000;
  assert.equal(setup.add("10.0.0.1").kind, "now");
});

Deno.test("Failures: the answers that wait for all addresses are bounded", () => {
  const setup = new Setup();
  const kinds = Array.from({ length: 40 }, (_, host) => setup.add(`10.0.0.${host}`, 42).kind);
  assert.deepEqual(kinds, [...Array(32).fill("later"), ...Array(8).fill("never")]);
});

Deno.test("Failures take an IPv6 network for one address, however it is written", () => {
  const setup = new Setup();
  setup.add("2001:db8::1", 5);
  setup.add("2001:0db8:0:0:ffff::2", 5);
  assert.equal(setup.add("2001:db8:0:0:1:2:3:4").kind, "later");
  assert.equal(setup.add("2001:db8:0:1::1").kind, "now");
  assert.equal(setup.add("::1", 10).kind, "now");
  assert.equal(setup.add("::2").kind, "later");
});

Deno.test("Failures forget the address that failed longest ago", () => {
  const setup = new Setup();
  setup.add("10.1.0.1", 11);
  setup.add("10.1.0.2", 11);
  for (let index = 0; index < 9_999; index++) {
    setup.add(`10.2.${index >> 8}.${index & 255}`);
    if (index === 5_000) assert.equal(setup.add("10.1.0.2").kind, "later");
  }
  assert.equal(setup.throttle.size, 10_000);
  assert.equal(setup.add("10.1.0.2").kind, "later");
  assert.equal(setup.add("10.1.0.1").kind, "now");
});
