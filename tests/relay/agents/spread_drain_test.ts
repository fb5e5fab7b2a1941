import { deepEqual, equal, ok } from "node:assert/strict";
import { SpreadDrain } from "../../../lib/relay/agents/spread_drain.ts";
import type { Session } from "../../../lib/protocol/session.ts";
import { eventually } from "../../support/deadline.ts";

/** Sessions that note when they were asked to drain. */
class Asked {
  readonly times: number[] = [];
  readonly order: number[] = [];
  readonly sessions: Session[];

  constructor(count: number) {
    this.sessions = Array.from({ length: count }, (_, index) => {
      const announceDrain = () => {
        this.times.push(performance.now());
        this.order.push(index);
      };
      return { announceDrain } as unknown as Session;
    });
  }
}

Deno.test("SpreadDrain asks many agents over most of the time that they have", async () => {
  const asked = new Asked(10_000);
  const startMs = performance.now();
  new SpreadDrain(asked.sessions, 1_000);
  ok(asked.order.length < 1_000, "few of them at once");
  await eventually(() => asked.order.length === 10_000, "all of them");
  const lastMs = asked.times.at(-1)! - startMs;
  ok(lastMs >= 700, `the last one after ${lastMs} ms`);
  const half = asked.times[5_000]! - startMs;
  ok(half >= 300, `half of them after ${half} ms`);
  deepEqual(asked.order.toSorted((a, b) => a - b), asked.sessions.map((_, index) => index));
});

Deno.test("SpreadDrain asks few agents at once, and all of them where there is no time", () => {
  for (const [count, withinMs] of [[5, 60_000], [10_000, 0]] as const) {
    const asked = new Asked(count);
    new SpreadDrain(asked.sessions, withinMs);
    equal(asked.order.length, count);
  }
});

Deno.test("SpreadDrain asks those that are left when the time is over before", async () => {
  const asked = new Asked(1_000);
  const drain = new SpreadDrain(asked.sessions, 600_000);
  ok(asked.order.length < 1_000);
  drain.finish();
  equal(asked.order.length, 1_000);
  await new Promise((resolve) => setTimeout(resolve, 30));
  equal(asked.order.length, 1_000);
});

Deno.test("SpreadDrain asks agents in no order of theirs", () => {
  const asked = new Asked(1_000);
  new SpreadDrain(asked.sessions, 0);
  ok(asked.order.some((index, place) => index !== place && index !== 999 - place));
});
