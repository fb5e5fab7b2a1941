/** The measurements on loopback, in the order of the table. */
import { measureBulk } from "./bulk_measurements.ts";
import type { Measurement } from "./measurement.ts";
import { measureMemory, measureStalled } from "./memory_measurements.ts";
import { measureBeside, measureRequests } from "./request_measurements.ts";

/** What is measured when everything is on one machine. */
export function loopbackMeasurements(stalledStreams: number): Measurement[] {
  const requests = (["plain", "tls"] as const).flatMap((kind) =>
    [true, false].flatMap((isKeepAlive) =>
      [1, 32, 256].map((connections) => measureRequests({ kind, isKeepAlive, connections }))
    )
  );
  return [
    ...requests,
    measureRequests({ kind: "service", isKeepAlive: true, connections: 32 }),
    measureRequests({ kind: "tcp", isKeepAlive: true, connections: 32 }),
    measureRequests({ kind: "tcp", isKeepAlive: false, connections: 32 }),
    measureBulk({ direction: "download", kind: "plain", count: 1 }),
    measureBulk({ direction: "upload", kind: "plain", count: 1 }),
    measureBulk({ direction: "download", kind: "plain", count: 8 }),
    measureBulk({ direction: "download", kind: "tls", count: 1 }),
    measureBulk({ direction: "download", kind: "tcp", count: 1 }),
    measureBulk({ direction: "upload", kind: "tcp", count: 1 }),
    measureBeside(1),
    measureBeside(32),
    measureMemory,
    measureStalled(stalledStreams),
  ];
}
