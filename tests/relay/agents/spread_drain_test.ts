import { deepEqual, equal, ok } from "node:assert/strict";
import { SpreadDrain } from "../../../lib/relay/agents/spread_drain.ts";
import { eventually } from "../../support/deadline.ts";

/** Agents that are asked, by a clock that the test turns. */
class Asked {
  nowMs = 0;
  readonly order: number[] = [];
  isDone = false;
  readonly drain: SpreadDrain<number>;

  constructor(count: number, withinMs: number) {
    this.drain = new SpreadDrain(Array.from({ length: count }, (_, index) => index), withinMs, {
      ask: (agent) => {
        ok(!this.isDone, "nobody is asked behind the end");
        this.order.push(agent);
      },
      done: () => {
        ok(!this.isDone, "done once");
        this.isDone = true;
      },
    }, () => this.nowMs);
  }
}

Deno.test("SpreadDrain asks many agents over most of the time that they have", async () => {
  const asked = new Asked(10_000, 1_000);
  // At each time those are asked whose turn comes until the next round, 20 ms later.
  for (const [nowMs, count] of [[0, 250], [380, 5_000], [700, 9_000], [779, 9_988]] as const) {
    asked.nowMs = nowMs;
    await eventually(() => asked.order.length >= count, `${count} agents`);
    equal(asked.order.length, count);
    equal(asked.isDone, false);
  }
  asked.nowMs = 780;
  await eventually(() => asked.isDone, "all of them");
  deepEqual(asked.order.toSorted((a, b) => a - b), Array.from({ length: 10_000 }, (_, at) => at));
});

Deno.test("SpreadDrain asks few agents at once, and all of them where there is no time", () => {
  for (const [count, withinMs] of [[0, 60_000], [5, 60_000], [10_000, 0]] as const) {
    const asked = new Asked(count, withinMs);
    deepEqual([asked.order.length, asked.isDone], [count, true]);
  }
});

Deno.test("SpreadDrain asks those that are left when the time is over before", async () => {
  const asked = new Asked(1_000, 600_000);
  ok(asked.order.length < 1_000);
  for (let times = 0; times < 2; times++) asked.drain.finish();
  equal(asked.order.length, 1_000);
  await new Promise((resolve) => setTimeout(resolve, 30));
  equal(asked.order.length, 1_000);
});

Deno.test("SpreadDrain asks agents in no order of theirs", () => {
  const asked = new Asked(1_000, 0);
  ok(asked.order.some((index, place) => index !== place && index !== 999 - place));
});
