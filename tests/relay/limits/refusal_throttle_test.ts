import assert from "node:assert/strict";
import {
  maxWaitingRefusals,
  promptPerSecond,
  refusalDelayMs,
  RefusalThrottle,
} from "../../../lib/relay/limits/refusal_throttle.ts";

/** A pace with a clock that the test sets, and what waits. */
class Setup {
  nowMs = 0;
  sent = 0;
  readonly waiting: (() => void)[] = [];
  readonly #throttle = new RefusalThrottle(() => this.nowMs, (send, ms) => {
    assert.equal(ms, refusalDelayMs);
    this.waiting.push(send);
  });

  take(times: number): void {
    for (let count = 0; count < times; count++) this.#throttle.take(() => this.sent++);
  }
}

Deno.test("RefusalThrottle answers a few a second at once, and the others later, each once", () => {
  const setup = new Setup();
  setup.take(promptPerSecond + 2);
  assert.deepEqual([setup.sent, setup.waiting.length], [promptPerSecond, 2]);
  for (const send of setup.waiting) send();
  assert.equal(setup.sent, promptPerSecond + 2);
  setup.nowMs += 1_000;
  setup.take(promptPerSecond);
  assert.equal(setup.sent, 2 * promptPerSecond + 2);
});

Deno.test("RefusalThrottle has no more wait than it may, and takes more as soon as there is room", () => {
  const setup = new Setup();
  setup.take(promptPerSecond + maxWaitingRefusals + 5);
  assert.deepEqual([setup.sent, setup.waiting.length], [promptPerSecond + 5, maxWaitingRefusals]);
  setup.waiting.pop()!();
  setup.take(2);
  assert.deepEqual([setup.sent, setup.waiting.length], [promptPerSecond + 7, maxWaitingRefusals]);
});
