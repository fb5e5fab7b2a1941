/** Small requests: how many, how fast, at what cost, alone and beside bulk transfers. */
import { cpuFigures, cpuMetrics, withCpuCost } from "./cpu_cost.ts";
import {
  type Bench,
  type Figures,
  type Measurement,
  MEGABYTE,
  type Metric,
} from "./measurement.ts";
import type { RequestLoad } from "./request_load.ts";
import { kindTitles, type Route, type TargetKind } from "./route.ts";
import { pause } from "./wait.ts";

const RATE: Metric = { key: "perSecond", label: "requests per second", unit: "1/s" };
const P50: Metric = { key: "p50", label: "latency p50", unit: "ms" };
const P99: Metric = { key: "p99", label: "latency p99", unit: "ms" };

/** The unit of work that CPU time is counted for. */
const COSTED_REQUESTS = 10_000;

/** Bulk downloads that run beside small requests. */
const BULK_STREAMS = 4;

/** From the start of the bulk downloads to the first small request: they are under way by then. */
const BULK_HEAD_START_MS = 1_000;

/** How a request measurement differs from its neighbours. */
export interface RequestShape {
  readonly kind: TargetKind;
  readonly isKeepAlive: boolean;
  readonly connections: number;
}

/** The id of a request measurement. */
export function requestsId({ kind, isKeepAlive, connections }: RequestShape): string {
  return `${kind}/${isKeepAlive ? "keep-alive" : "new-connection"}/c=${connections}`;
}

/** Requests of one shape, with the CPU they cost. */
export function measureRequests(shape: RequestShape): Measurement {
  const { kind, isKeepAlive, connections } = shape;
  const reuse = isKeepAlive ? "keep-alive" : "a new client connection each";
  const plural = connections === 1 ? "connection" : "connections";
  return {
    id: requestsId(shape),
    title: `Requests, ${kindTitles[kind]}, ${reuse}, ${connections} ${plural}`,
    metrics: [RATE, P50, P99, ...cpuMetrics("10,000 requests")],
    needsFreshRoute: false,
    async run(route, bench) {
      await sendRequests(route, bench, shape, bench.plan.warmUpSeconds);
      const { result, seconds } = await withCpuCost(
        route.processes(kind),
        () => sendRequests(route, bench, shape, bench.plan.loadSeconds),
      );
      return {
        perSecond: result.perSecond,
        p50: result.p50Ms,
        p99: result.p99Ms,
        ...cpuFigures(seconds, result.requests / COSTED_REQUESTS),
      };
    },
  };
}

/** Sends small requests of a shape for some time. */
export function sendRequests(route: Route, bench: Bench, shape: RequestShape, seconds: number) {
  const host = route.host?.(shape.kind);
  const load: RequestLoad = {
    url: route.url(shape.kind, bench.target.smallPath),
    ...(host === undefined ? {} : { fields: { Host: host } }),
    connections: shape.connections,
    isKeepAlive: shape.isKeepAlive,
    seconds,
  };
  return bench.requests.run(load, bench.signal);
}

/** The id of a measurement of {@link measureBeside}. */
export function besideId(connections: number): string {
  return `beside-bulk/c=${connections}`;
}

/** Small requests alone, then beside downloads that never pause. */
export function measureBeside(connections: number): Measurement {
  const shape: RequestShape = { kind: "plain", isKeepAlive: true, connections };
  return {
    id: besideId(connections),
    title: `Small requests beside ${BULK_STREAMS} bulk downloads, plain target, keep-alive, ` +
      `${connections} ${connections === 1 ? "connection" : "connections"}`,
    metrics: [
      { key: "p99Alone", label: "latency p99, alone", unit: "ms" },
      { key: "p99", label: "latency p99, beside", unit: "ms" },
      { key: "slowdown", label: "p99 beside / alone", unit: "×" },
      { key: "p50", label: "latency p50, beside", unit: "ms" },
      { key: "perSecond", label: "requests per second, beside", unit: "1/s" },
      { key: "bulkRate", label: "the downloads meanwhile, sum", unit: "MB/s" },
    ],
    needsFreshRoute: false,
    async run(route, bench): Promise<Figures> {
      const { warmUpSeconds, loadSeconds } = bench.plan;
      await sendRequests(route, bench, shape, warmUpSeconds);
      const alone = await sendRequests(route, bench, shape, loadSeconds);
      const [beside, bulkRate] = await Promise.all([
        pause(BULK_HEAD_START_MS, bench.signal)
          .then(() => sendRequests(route, bench, shape, loadSeconds)),
        downloadFor(route, bench, BULK_HEAD_START_MS / 1000 + loadSeconds),
      ]);
      return {
        p99Alone: alone.p99Ms,
        p99: beside.p99Ms,
        slowdown: beside.p99Ms / alone.p99Ms,
        p50: beside.p50Ms,
        perSecond: beside.perSecond,
        bulkRate,
      };
    },
  };
}

/** Keeps the bulk downloads going for `seconds`; returns their rate together in MB/s. */
async function downloadFor(route: Route, bench: Bench, seconds: number): Promise<number> {
  const endMs = performance.now() + seconds * 1000;
  const downloadAgain = async () => {
    let bytes = 0;
    for (let leftMs = seconds * 1000; leftMs > 0; leftMs = endMs - performance.now()) {
      const url = route.url("plain", bench.target.downloadPath);
      const options = { expectedBytes: bench.target.bulkBytes, maxSeconds: leftMs / 1000 };
      bytes += (await bench.bulk.download(url, options, bench.signal)).bytes;
    }
    return bytes;
  };
  const sums = await Promise.all(Array.from({ length: BULK_STREAMS }, downloadAgain));
  return sums.reduce((sum, bytes) => sum + bytes, 0) / seconds / MEGABYTE;
}
