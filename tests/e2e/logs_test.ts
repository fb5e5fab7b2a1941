/** Logs: pod `box` prints `tick N` once a second. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { tunnelTest } from "./tunnel.ts";

tunnelTest("kubectl logs prints the last lines of a pod", async (tunnel) => {
  const printed = await tunnel.caller.output(["logs", "box", "--tail=3"]);
  const ticks = printed.trimEnd().split("\n").map(tickNumber);
  equal(ticks.length, 3);
  deepEqual(ticks, ticks.map((_, index) => ticks[0]! + index));
});

tunnelTest("kubectl logs -f shows each line as it is written", async (tunnel) => {
  await using logs = tunnel.caller.start(["logs", "-f", "box", "--tail=1", "--timestamps"]);
  const lines = (await logs.waitForLines(6)).map(({ text, arrivedAt }) => {
    const [timestamp = "", ...rest] = text.split(" ");
    return { tick: tickNumber(rest.join(" ")), lagMs: arrivedAt - Date.parse(timestamp) };
  });
  const first = lines[0]!.tick;
  deepEqual(lines.map(({ tick }) => tick), [0, 1, 2, 3, 4, 5].map((index) => first + index));
  // The first line was there before. A tunnel that holds a line back until the next one comes shows
  // every line a second late, so the best of the others tells, on however busy a machine.
  const bestLagMs = Math.min(...lines.slice(1).map(({ lagMs }) => lagMs));
  ok(bestLagMs < 500, `Every line came late, the best after ${bestLagMs} ms`);
});

function tickNumber(line: string): number {
  const match = /^tick (\d+)$/.exec(line);
  if (!match) throw new Error(`Not a line of pod box: ${JSON.stringify(line)}`);
  return Number(match[1]);
}
