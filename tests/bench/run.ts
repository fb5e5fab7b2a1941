/** One run of the benchmark, from its options to its report. */
import { type BulkTool, findBulkTool } from "./bulk_transfer.ts";
import { startCulvert } from "./culvert_route.ts";
import { startDirect } from "./direct_route.ts";
import { checkGoals, lineGoals, loopbackGoals } from "./goals.ts";
import { lineMeasurements } from "./line_measurements.ts";
import { loopbackMeasurements } from "./loopback_measurements.ts";
import { coresOfOthers, describeMachine, readCpuUse } from "./machine.ts";
import { makePlan, type Measurement, MEGABYTE, type Plan } from "./measurement.ts";
import { type BenchOptions, UsageError } from "./options.ts";
import { ratholeVersion, startRathole } from "./rathole_route.ts";
import type { RunReport } from "./report.ts";
import { findRequestGenerator, type RequestGenerator } from "./request_load.ts";
import { Results } from "./results.ts";
import type { RouteContext } from "./route.ts";
import { type Contender, takeMeasurements } from "./runner.ts";
import { type BenchTarget, startTarget } from "./target.ts";

/** The measurements that the options select, in order; throws {@link UsageError} when none is. */
export function selectMeasurements(options: BenchOptions): Measurement[] {
  const all = options.rttMs === undefined
    ? loopbackMeasurements(options.stalledStreams)
    : lineMeasurements(options.rttMs);
  const selected = all.filter(({ id }) => options.only?.test(id) ?? true);
  if (selected.length > 0) return selected;
  const ids = all.map(({ id }) => id).join(", ");
  throw new UsageError(`Option "--only" matches none of the measurements: ${ids}`);
}

/** Takes the selected measurements; ends everything that it started, also when `signal` is aborted. */
export async function run(
  options: BenchOptions,
  signal: AbortSignal,
  onProgress: (line: string) => void,
): Promise<RunReport> {
  const measurements = selectMeasurements(options);
  const startedAt = new Date();
  const machine = await describeMachine();
  const cpuBefore = await readCpuUse();
  const taken = await measure(options, measurements, signal, onProgress);
  // Only now have all children ended, so that their CPU time is known.
  const cpuAfter = await readCpuUse();
  const wallSeconds = (Date.now() - startedAt.getTime()) / 1000;
  const otherCores = cpuBefore && cpuAfter && coresOfOthers(cpuBefore, cpuAfter, wallSeconds);
  return {
    ...taken,
    startedAt: startedAt.toISOString(),
    seconds: Math.round(wallSeconds),
    machine,
    otherCores,
    rounds: options.rounds,
    measurements,
    goals: checkGoals(goalsOf(options), taken.results),
  };
}

type Taken = Pick<RunReport, "tools" | "settings" | "plan" | "routes" | "results">;

async function measure(
  options: BenchOptions,
  measurements: readonly Measurement[],
  signal: AbortSignal,
  onProgress: (line: string) => void,
): Promise<Taken> {
  const plan = makePlan(options.isQuick, options.stalledStreams);
  onProgress("starting the target");
  await using target = await startTarget(plan.bulkBytes, signal);
  const requests = await findRequestGenerator();
  const bulk = await findBulkTool(target.certificate.caPath);
  const rathole = await ratholeVersion();
  const contenders = findContenders(rathole !== undefined);
  const results = new Results();
  await takeMeasurements({
    bench: { plan, target, requests, bulk, signal },
    context: routeContext(options, target, signal),
    contenders,
    measurements,
    rounds: options.rounds,
    results,
    onProgress,
  });
  return {
    tools: describeTools(target, requests, bulk, rathole),
    settings: describeSettings(options, plan),
    plan,
    routes: contenders.map(({ name }) => name),
    results,
  };
}

function goalsOf({ rttMs, stalledStreams }: BenchOptions) {
  return rttMs === undefined ? loopbackGoals(stalledStreams) : lineGoals(rttMs);
}

function findContenders(hasRathole: boolean): Contender[] {
  return [
    { name: "direct", start: startDirect },
    ...hasRathole ? [{ name: "rathole", start: startRathole } as const] : [],
    { name: "culvert", start: startCulvert },
  ];
}

function routeContext(
  { rttMs, rateMbit, logLevel }: BenchOptions,
  target: BenchTarget,
  signal: AbortSignal,
): RouteContext {
  return { target, logLevel, line: rttMs === undefined ? undefined : { rttMs, rateMbit }, signal };
}

function describeTools(
  target: BenchTarget,
  requests: RequestGenerator,
  bulk: BulkTool,
  rathole: string | undefined,
): Record<string, string> {
  return {
    target: target.description,
    requests: requests.description,
    bulk: bulk.description,
    rathole: rathole ?? "not on the PATH: not compared (cargo install rathole)",
  };
}

function describeSettings(options: BenchOptions, plan: Plan): string[] {
  const { rounds, rttMs, rateMbit, logLevel, isQuick } = options;
  const bulkMb = plan.bulkBytes / MEGABYTE;
  const line = rttMs === undefined
    ? "all on loopback, the ends of a tunnel in plain TCP"
    : `${rttMs} ms round trip and ${rateMbit} Mbit/s each way between the ends of a tunnel, ` +
      "or between caller and target when direct";
  return [
    `line: ${line}`,
    `each row: ${plan.loadSeconds} s of requests after ${plan.warmUpSeconds} s of warming up, or ` +
    `${bulkMb} MB after another ${bulkMb} MB; ` +
    `${rounds === 1 ? "one round" : `medians of ${rounds} rounds`}; log level ${logLevel}` +
    `${isQuick ? "; --quick: not for publication" : ""}`,
    "memory in MB of 1,000,000 bytes; CPU and memory of rathole's server under relay, of its " +
    "client under agent; over TLS rathole's caller speaks TLS itself, culvert's does not",
  ];
}
