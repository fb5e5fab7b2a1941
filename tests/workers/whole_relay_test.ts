/** What several workers are and show together. */
import { deepEqual, equal } from "node:assert/strict";
import { mergedMetrics } from "../../lib/workers/merged_metrics.ts";
import { wholeReadiness } from "../../lib/workers/whole_readiness.ts";

const ready = { isStopping: false, agents: 1, hasServingAgent: true };
const empty = { isStopping: false, agents: 0, hasServingAgent: false };

Deno.test("wholeReadiness: workers are ready together, with an agent at one of them", () => {
  deepEqual(wholeReadiness([ready, empty], false), { status: 200, text: "ok" });
  deepEqual(wholeReadiness([empty, empty], false), {
    status: 503,
    text: "no agent is connected\n",
  });
  deepEqual(wholeReadiness([empty, empty], true), { status: 200, text: "ok" });
  const draining = { ...empty, agents: 1 };
  deepEqual(wholeReadiness([draining, empty], false), {
    status: 503,
    text: "all agents are draining\n",
  });
});

Deno.test("wholeReadiness: a worker that does not run, or stops, makes all of them not ready", () => {
  deepEqual(wholeReadiness([ready, undefined], false), {
    status: 503,
    text: "worker 2 of 2 does not run\n",
  });
  const stopping = { ...ready, isStopping: true };
  const stops = { status: 503, text: "the relay is shutting down\n" } as const;
  deepEqual(wholeReadiness([ready, stopping], false), stops);
  deepEqual(wholeReadiness([undefined, stopping], true), stops);
});

Deno.test("wholeReadiness: a directory counts as there when all workers have it", () => {
  const settled = { ...empty, directory: { isSettled: true, isUp: true } };
  const unsettled = { ...empty, directory: { isSettled: false, isUp: false } };
  const away = { ...ready, directory: { isSettled: true, isUp: false } };
  equal(wholeReadiness([settled, settled], false).status, 200);
  equal(wholeReadiness([settled, unsettled], false).text, "the directory has not answered yet\n");
  equal(wholeReadiness([settled, away], false).text, "ok, but the directory is unavailable\n");
});

Deno.test("mergedMetrics puts the samples of one name together, and says whose each is", () => {
  const text = (count: number) =>
    [
      "# HELP a_total What is { counted } here.",
      "# TYPE a_total counter",
      `a_total ${count}`,
      'a_total{code="200",path="} {"} 7',
      "",
      "# HELP h Seconds.",
      "# TYPE h histogram",
      'h_bucket{le="+Inf"} 3',
      "h_sum 1.5",
      "h_count 3",
      "empty{} 1",
      "",
    ].join("\n");
  const own = "# HELP b Own.\n# TYPE b gauge\nb 2\n";
  const merged = mergedMetrics([
    { worker: "parent", text: own },
    { worker: "1", text: text(1) },
    { worker: "2", text: text(2) },
  ]);
  deepEqual(merged.split("\n"), [
    "# HELP b Own.",
    "# TYPE b gauge",
    'b{worker="parent"} 2',
    "# HELP a_total What is { counted } here.",
    "# TYPE a_total counter",
    'a_total{worker="1"} 1',
    'a_total{worker="1",code="200",path="} {"} 7',
    'a_total{worker="2"} 2',
    'a_total{worker="2",code="200",path="} {"} 7',
    "# HELP h Seconds.",
    "# TYPE h histogram",
    ...["1", "2"].flatMap((worker) => [
      `h_bucket{worker="${worker}",le="+Inf"} 3`,
      `h_sum{worker="${worker}"} 1.5`,
      `h_count{worker="${worker}"} 3`,
      `empty{worker="${worker}"} 1`,
    ]),
    "",
  ]);
});
