import { deepEqual, equal, ok } from "node:assert/strict";
import { SpreadDrain } from "../../../lib/relay/agents/spread_drain.ts";
import { eventually } from "../../support/deadline.ts";

/** Agents that are asked, and when. */
class Asked {
  readonly times: number[] = [];
  readonly order: number[] = [];
  isDone = false;
  readonly drain: SpreadDrain<number>;

  constructor(count: number, withinMs: number) {
    this.drain = new SpreadDrain(Array.from({ length: count }, (_, index) => index), withinMs, {
      ask: (agent) => {
        ok(!this.isDone, "nobody is asked behind the end");
        this.times.push(performance.now());
        this.order.push(agent);
      },
      done: () => {
        ok(!this.isDone, "done once");
        this.isDone = true;
      },
    });
  }
}

Deno.test("SpreadDrain asks many agents over most of the time that they have", async () => {
  const startMs = performance.now();
  const asked = new Asked(10_000, 1_000);
  ok(asked.order.length < 1_000, "few of them at once");
  await eventually(() => asked.isDone, "all of them");
  const lastMs = asked.times.at(-1)! - startMs;
  ok(lastMs >= 700, `the last one after ${lastMs} ms`);
  const half = asked.times[5_000]! - startMs;
  ok(half >= 300, `half of them after ${half} ms`);
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
