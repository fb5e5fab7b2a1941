import assert from "node:assert/strict";
import type { ExchangeEnd } from "../../../lib/net/exchange.ts";
import { type MetricsParts, RelayMetrics } from "../../../lib/relay/telemetry/metrics.ts";
import { PrometheusInstruments } from "../../../lib/runtime/node/prometheus.ts";
import { Registry } from "../../../lib/relay/agents/registry.ts";

function created(parts: Partial<MetricsParts> = {}): RelayMetrics {
  const instruments = new PrometheusInstruments();
  return new RelayMetrics({ instruments, registry: new Registry(), version: "1.2.3", ...parts });
}

function ended(changes: Partial<ExchangeEnd> = {}): ExchangeEnd {
  return {
    status: 200,
    bytes: 1,
    bytesIn: 0,
    ms: 30,
    firstByteMs: 7,
    isComplete: true,
    ...changes,
  };
}

/** The lines of one metric, in order. */
async function lines(metrics: RelayMetrics, name: string): Promise<string[]> {
  const text = await metrics.text();
  return text.split("\n").filter((line) => line.startsWith(name));
}

Deno.test("a cluster's requests count by method and status, and methods nobody knows as OTHER", async () => {
  const metrics = created();
  const cluster = metrics.cluster("prod");
  for (const method of ["GET", "GET", "BREW", "X".repeat(100), "get"]) {
    cluster.finished(method, ended());
  }
  cluster.finished("GET", ended({ status: 404 }));
  assert.deepEqual(await lines(metrics, "proxy_requests_total"), [
    'proxy_requests_total{cluster="prod",method="GET",code="200"} 2',
    'proxy_requests_total{cluster="prod",method="OTHER",code="200"} 3',
    'proxy_requests_total{cluster="prod",method="GET",code="404"} 1',
  ]);
});

Deno.test("statuses that nobody has registered count by their class, whatever targets make up", async () => {
  const metrics = created();
  const cluster = metrics.cluster("prod");
  for (let status = 200; status <= 999; status++) cluster.finished("GET", ended({ status }));
  const series = await lines(metrics, "proxy_requests_total");
  const codes = series.map((line) => /code="(\w+)"/.exec(line)![1]!);
  assert.deepEqual(codes.filter((code) => code.endsWith("xx")).sort(), [
    ...["2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"],
  ]);
  assert.ok(["200", "301", "404", "429", "503"].every((code) => codes.includes(code)));
  assert.ok(series.length < 70, `${series.length} series`);
  assert.ok(series.some((line) => line.endsWith('code="9xx"} 100')), series.join("\n"));
});

Deno.test("a request without an answer counts as aborted alone, a cut answer as both", async () => {
  const metrics = created();
  const cluster = metrics.cluster("prod");
  cluster.finished("GET", ended({ status: 0, isComplete: false, firstByteMs: undefined }));
  cluster.finished("GET", ended({ isComplete: false }));
  assert.deepEqual(await lines(metrics, "proxy_aborted"), [
    'proxy_aborted_requests_total{cluster="prod"} 2',
  ]);
  assert.deepEqual(await lines(metrics, "proxy_requests_total"), [
    'proxy_requests_total{cluster="prod",method="GET",code="200"} 1',
  ]);
});

Deno.test("times fall into cumulative buckets, those of argocd-cluster-proxy", async () => {
  const metrics = created();
  const cluster = metrics.cluster("prod");
  for (const ms of [5, 6, 30, 20_000]) cluster.finished("GET", ended({ ms }));
  assert.deepEqual(await lines(metrics, "proxy_request_duration_seconds"), [
    ...[
      ["0.005", 1],
      ["0.01", 2],
      ["0.025", 2],
      ...["0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10"].map((bound) => [bound, 3]),
      ["+Inf", 4],
    ].map(([le, count]) =>
      `proxy_request_duration_seconds_bucket{le="${le}",cluster="prod"} ${count}`
    ),
    'proxy_request_duration_seconds_sum{cluster="prod"} 20.041',
    'proxy_request_duration_seconds_count{cluster="prod"} 4',
  ]);
  const firstBytes = await lines(metrics, "culvert_time_to_first_byte_seconds_count");
  assert.deepEqual(firstBytes, ['culvert_time_to_first_byte_seconds_count{cluster="prod"} 4']);
});

Deno.test("limits count by name, and those on requests per second under argocd-cluster-proxy's name too", async () => {
  const metrics = created();
  for (const limit of ["rate-limit", "cluster-rate-limit", "max-streams"]) metrics.limitHit(limit);
  metrics.requestRefused(431);
  assert.deepEqual((await lines(metrics, "culvert_limit_hits_total")).sort(), [
    'culvert_limit_hits_total{limit="cluster-rate-limit"} 1',
    'culvert_limit_hits_total{limit="max-header-bytes"} 1',
    'culvert_limit_hits_total{limit="max-streams"} 1',
    'culvert_limit_hits_total{limit="rate-limit"} 1',
  ]);
  assert.deepEqual(await lines(metrics, "proxy_rate_limited_total"), [
    "proxy_rate_limited_total 2",
  ]);
});

Deno.test("the answer is Prometheus' text format, each metric told once", async () => {
  const metrics = created();
  metrics.cluster("prod").finished("GET", ended());
  const text = await metrics.text();
  const types = [...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name);
  assert.equal(new Set(types).size, types.length);
  assert.ok(types.includes("process_cpu_seconds_total"));
  for (const line of text.trimEnd().split("\n")) {
    assert.match(line, /^(# (HELP|TYPE) \w+ .+|\w+(\{[^}]*\})? [-+.\deInfNa]+)$|^$/);
  }
});

Deno.test("relays of one process share the process's metrics, and keep their own apart", async () => {
  const [first, second] = [0, 1].map(() => created());
  first!.limitHit("rate-limit");
  assert.deepEqual(await lines(first!, "proxy_rate_limited_total"), ["proxy_rate_limited_total 1"]);
  assert.deepEqual(await lines(second!, "proxy_rate_limited_total"), [
    "proxy_rate_limited_total 0",
  ]);
});

Deno.test("the series of a removed cluster end once it has been quiet for ten minutes", async () => {
  let nowMs = 0;
  const metrics = created({ nowMs: () => nowMs });
  const minute = 60_000;
  metrics.useClusters(["stays", "goes"]);
  for (const id of ["stays", "goes", "unknown"]) metrics.cluster(id).finished("GET", ended());
  const open = metrics.cluster("goes");
  open.open++;
  metrics.useClusters(["stays"]);
  nowMs += 60 * minute;
  const clusters = async () => {
    const text = await metrics.text();
    const names = [...text.matchAll(/cluster="(\w+)"/g)].map(([, name]) => name!);
    return [...new Set(names)].sort();
  };
  assert.deepEqual(await clusters(), ["goes", "stays", "unknown"], "a request is open");

  open.open--;
  open.finished("GET", ended());
  await clusters();
  nowMs += 9 * minute;
  assert.deepEqual(await clusters(), ["goes", "stays", "unknown"]);
  nowMs += minute;
  assert.deepEqual(await clusters(), ["stays", "unknown"]);

  metrics.useClusters(["stays", "goes"]);
  metrics.cluster("goes").finished("GET", ended());
  nowMs += 60 * minute;
  assert.deepEqual(await clusters(), ["goes", "stays", "unknown"], "it has come back");
});

Deno.test("agents can't add series with close codes that they make up", async () => {
  const metrics = created();
  const stats = { bytesIn: 0, bytesOut: 0, windowStalls: 0 };
  for (let code = 1000; code < 5000; code++) metrics.sessionEnded({ code, reason: "" }, stats);
  const series = await lines(metrics, "tunnel_sessions_ended_total");
  assert.ok(series.length < 25, `${series.length} series`);
  const count = (code: string) =>
    series.find((line) => line.includes(`{code="${code}"}`))?.split(" ").at(-1);
  assert.deepEqual([count("1006"), count("1001")], ["1", "1"]);
  assert.equal(Number(count("other")), 4_000 - (series.length - 1));
});
