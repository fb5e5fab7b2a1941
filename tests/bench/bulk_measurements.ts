/** Large transfers: rate and CPU cost, one at a time and eight at once. */
import type { TransferFigures } from "./bulk_transfer.ts";
import { cpuFigures, cpuMetrics, withCpuCost } from "./cpu_cost.ts";
import { type Bench, type Measurement, MEGABYTE } from "./measurement.ts";
import { kindTitles, type Route, type TargetKind } from "./route.ts";

const GIGABYTE = 1000 * MEGABYTE;

/** What a bulk measurement moves. */
export interface BulkShape {
  readonly direction: "download" | "upload";
  readonly kind: TargetKind;
  /** Transfers at the same time. */
  readonly count: number;
}

/** The id of a bulk measurement. */
export function bulkId({ direction, kind, count }: BulkShape): string {
  return `bulk/${direction}/${kind}/x${count}`;
}

/** Bulk transfers of one shape, with the CPU they cost. */
export function measureBulk(shape: BulkShape): Measurement {
  const { direction, kind, count } = shape;
  const what = count === 1 ? `One ${direction}` : `${count} ${direction}s at once`;
  return {
    id: bulkId(shape),
    title: `${what}, ${kindTitles[kind]}`,
    metrics: [
      { key: "rate", label: count === 1 ? "rate" : "rate, sum", unit: "MB/s" },
      ...cpuMetrics("GB"),
    ],
    needsFreshRoute: false,
    async run(route, bench) {
      await transfer(shape, route, bench); // a first one warms up caches and compilers
      const startedMs = performance.now();
      const { result, seconds } = await withCpuCost(
        route.processes(kind),
        () => Promise.all(Array.from({ length: count }, () => transfer(shape, route, bench))),
      );
      const bytes = result.reduce((sum, { bytes }) => sum + bytes, 0);
      // One transfer's own clock leaves out the start of the program that does it.
      const wallSeconds = count === 1 ? result[0]?.seconds : undefined;
      const spanSeconds = wallSeconds ?? (performance.now() - startedMs) / 1000;
      return {
        rate: bytes / spanSeconds / MEGABYTE,
        ...cpuFigures(seconds, bytes / GIGABYTE),
      };
    },
  };
}

async function transfer(
  { direction, kind }: BulkShape,
  route: Route,
  { target, bulk, signal }: Bench,
): Promise<TransferFigures> {
  if (direction === "download") {
    const options = { expectedBytes: target.bulkBytes };
    return await bulk.download(route.url(kind, target.downloadPath), options, signal);
  }
  const url = route.url(kind, target.uploadPath);
  const figures = await bulk.upload(url, target.uploadSource, signal);
  await target.checkUpload();
  return figures;
}
