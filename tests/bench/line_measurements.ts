/** The measurements over a delayed line. */
import { measureBulk } from "./bulk_measurements.ts";
import type { Measurement } from "./measurement.ts";
import { measureRequests } from "./request_measurements.ts";

/** What is measured when the ends are `rttMs` apart. */
export function lineMeasurements(rttMs: number): Measurement[] {
  return [
    inRoundTrips(
      rttMs,
      measureRequests({ kind: "plain", isKeepAlive: true, connections: 1 }),
    ),
    inRoundTrips(
      rttMs,
      measureRequests({ kind: "plain", isKeepAlive: false, connections: 1 }),
    ),
    measureRequests({ kind: "plain", isKeepAlive: true, connections: 32 }),
    measureBulk({ direction: "download", kind: "plain", count: 1 }),
    measureBulk({ direction: "upload", kind: "plain", count: 1 }),
  ];
}

/** The same measurement with its latency in round trips of the line as well. */
function inRoundTrips(rttMs: number, measurement: Measurement): Measurement {
  const metric = { key: "roundTrips", label: "latency p50, in round trips", unit: "×" };
  return {
    ...measurement,
    metrics: [metric, ...measurement.metrics],
    async run(route, bench) {
      const figures = await measurement.run(route, bench);
      return { ...figures, roundTrips: figures.p50! / rttMs };
    },
  };
}
