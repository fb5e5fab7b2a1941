import { deepEqual, equal } from "node:assert/strict";
import type { Registration } from "../../../lib/relay/agents/registry.ts";
import { History } from "../../../lib/relay/status/history.ts";

Deno.test("a relay measures every ten seconds, and counts what sessions moved meanwhile", () => {
  const stats = { bytesIn: 1_000, bytesOut: 0, windowStalls: 0 };
  const sessions = [{ session: { stats } } as unknown as Registration];
  const history = new History({ all: () => sessions.values() as never }, () => 3);
  history.measure(0);
  stats.bytesOut += 5_000;
  history.measure(9_999);
  equal(history.samples.length, 1);
  history.measure(10_000);
  deepEqual(history.samples.at(-1), {
    ...{ atMs: 10_000, agents: 1, openStreams: 3, bytesPerSecond: 500 },
  });
  sessions.length = 0;
  history.measure(20_000);
  equal(history.samples.at(-1)!.bytesPerSecond, 0);
  for (let at = 30_000; at < 3_000_000; at += 10_000) history.measure(at);
  equal(history.samples.length, 90);
});
