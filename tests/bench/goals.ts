/** The data plane's goals, each computed from the results of the run it is printed after. */
import { bulkId } from "./bulk_measurements.ts";
import { measureMemory, measureStalled } from "./memory_measurements.ts";
import { besideId, requestsId } from "./request_measurements.ts";
import type { Results } from "./results.ts";
import type { RouteName } from "./route.ts";

/** What came of a goal; `measured` is undefined when what it compares was not measured. */
export interface GoalResult {
  readonly goal: string;
  readonly measured: number | undefined;
  readonly unit: string;
  readonly isMet: boolean | undefined;
}

interface Goal {
  readonly text: string;
  readonly unit: string;
  /** What is compared with the limit. */
  readonly measure: (results: Results) => number | undefined;
  readonly isMet: (measured: number) => boolean;
}

/** One number of one measurement on one way. */
type Place = readonly [route: RouteName, measurementId: string, metricKey: string];

/** Streams in the goal about readers that stall; with another number there is nothing to compare. */
export const GOAL_STALLED_STREAMS = 1000;

const c1 = requestsId({ kind: "plain", isKeepAlive: true, connections: 1 });
const c32 = requestsId({ kind: "plain", isKeepAlive: true, connections: 32 });
const fresh32 = requestsId({ kind: "plain", isKeepAlive: false, connections: 32 });
const tls32 = requestsId({ kind: "tls", isKeepAlive: true, connections: 32 });
const download = bulkId({ direction: "download", kind: "plain", count: 1 });
const downloads8 = bulkId({ direction: "download", kind: "plain", count: 8 });
const upload = bulkId({ direction: "upload", kind: "plain", count: 1 });
const stalled = measureStalled(GOAL_STALLED_STREAMS).id;

/** The goals of a run on loopback. */
export function loopbackGoals(stalledStreams: number): Goal[] {
  return [
    atLeast(
      0.66,
      "plain target, c=32 keep-alive: req/s ≥ 0.66 × rathole's",
      both(c32, "perSecond"),
    ),
    atMost(2, "plain target, c=32 keep-alive: p99 ≤ 2 × rathole's", both(c32, "p99")),
    seconds(0.2, "plain target, c=32: relay's CPU per 10,000 requests ≤ 0.20 s", [c32, "relayCpu"]),
    seconds(0.18, "plain target, c=32: agent's CPU per 10,000 requests ≤ 0.18 s", [
      c32,
      "agentCpu",
    ]),
    atMost(2, "plain target, c=1: latency (p50) ≤ 2 × rathole's", both(c1, "p50")),
    atLeast(
      1.3,
      "new client connections, c=32: req/s ≥ 1.3 × rathole's",
      both(fresh32, "perSecond"),
    ),
    atLeast(
      0.85,
      "TLS target, c=32: req/s ≥ 0.85 × our own plain figure",
      ratio(["culvert", tls32, "perSecond"], ["culvert", c32, "perSecond"]),
    ),
    atLeast(1.5, "one download: rate ≥ 1.5 × rathole's", both(download, "rate")),
    atLeast(1, "one upload: rate ≥ 1 × rathole's", both(upload, "rate")),
    atLeast(
      0.9,
      "eight downloads at once: sum ≥ 0.9 × our one",
      ratio(["culvert", downloads8, "rate"], ["culvert", download, "rate"]),
    ),
    ...[1, 32].map((connections) =>
      atMost(
        5,
        `small requests beside four bulk downloads, c=${connections}: p99 ≤ 5 × alone`,
        number(["culvert", besideId(connections), "slowdown"]),
      )
    ),
    megabytes(80, "memory: agent ≤ 80 MB idle", [measureMemory.id, "agentIdle"]),
    megabytes(100, "memory: relay ≤ 100 MB idle", [measureMemory.id, "relayIdle"]),
    ...stalledStreams === GOAL_STALLED_STREAMS
      ? [
        megabytes(64, "1,000 streams nobody reads: agent grows ≤ 64 MB", [stalled, "agentGrowth"]),
        megabytes(64, "1,000 streams nobody reads: relay grows ≤ 64 MB", [stalled, "relayGrowth"]),
      ]
      : [],
  ];
}

/** The goals of a run over a delayed line. */
export function lineGoals(rttMs: number): Goal[] {
  const bulkToDirect = (id: string) => ratio(["culvert", id, "rate"], ["direct", id, "rate"]);
  return [
    atMost(
      1.08,
      `${rttMs} ms line: small request (p50, warm session) ≤ 1.08 round trips`,
      number(["culvert", c1, "roundTrips"]),
    ),
    atLeast(
      0.95,
      `${rttMs} ms line: download ≥ 0.95 × one direct TCP connection`,
      bulkToDirect(download),
    ),
    atLeast(
      0.95,
      `${rttMs} ms line: upload ≥ 0.95 × one direct TCP connection`,
      bulkToDirect(upload),
    ),
  ];
}

/** Compares each goal with what was measured. */
export function checkGoals(goals: readonly Goal[], results: Results): GoalResult[] {
  return goals.map(({ text, unit, measure, isMet }) => {
    const measured = measure(results);
    return {
      goal: text,
      measured,
      unit,
      isMet: measured === undefined ? undefined : isMet(measured),
    };
  });
}

type Measure = Goal["measure"];

function atLeast(limit: number, text: string, measure: Measure): Goal {
  return { text, unit: "×", measure, isMet: (measured) => measured >= limit };
}

function atMost(limit: number, text: string, measure: Measure): Goal {
  return { text, unit: "×", measure, isMet: (measured) => measured <= limit };
}

function seconds(limit: number, text: string, [id, metricKey]: [string, string]): Goal {
  const measure = number(["culvert", id, metricKey]);
  return { text, unit: "s", measure, isMet: (measured) => measured <= limit };
}

function megabytes(limit: number, text: string, [id, metricKey]: [string, string]): Goal {
  const measure = number(["culvert", id, metricKey]);
  return { text, unit: "MB", measure, isMet: (measured) => measured <= limit };
}

function number([route, measurementId, metricKey]: Place): Measure {
  return (results) => results.value(measurementId, route, metricKey);
}

function ratio(of: Place, to: Place): Measure {
  return (results) => {
    const dividend = number(of)(results);
    const divisor = number(to)(results);
    return dividend === undefined || divisor === undefined ? undefined : dividend / divisor;
  };
}

/** culvert's number as a multiple of rathole's. */
function both(measurementId: string, metricKey: string): Measure {
  return ratio(["culvert", measurementId, metricKey], ["rathole", measurementId, metricKey]);
}
