/** One run of the benchmark, from its options to its report. */
import { type BulkTool, findBulkTool } from "./bulk_transfer.ts";
import { startCulvert, startCulvertOf } from "./culvert_route.ts";
import { startDirect } from "./direct_route.ts";
import { checkGoals, lineGoals, loopbackGoals } from "./goals.ts";
import { lineMeasurements } from "./line_measurements.ts";
import { loopbackMeasurements } from "./loopback_measurements.ts";
import { commitOf, coresOfOthers, describeMachine, readCpuUse } from "./machine.ts";
import { makePlan, type Measurement, MEGABYTE, type Plan } from "./measurement.ts";
import { type BenchOptions, UsageError } from "./options.ts";
import { peers } from "./peers.ts";
import type { RunReport } from "./report.ts";
import { findRequestGenerator, type RequestGenerator } from "./request_load.ts";
import { Results } from "./results.ts";
import type { RouteContext, RouteName } from "./route.ts";
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
  const plan = makePlan(options);
  onProgress("starting the target");
  await using target = await startTarget(plan.bulkBytes, signal);
  const requests = await findRequestGenerator();
  const bulk = await findBulkTool(target.certificate.caPath);
  const versions = await findPeers(options);
  const contenders = findContenders(options, versions);
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
    tools: { ...describeTools(target, requests, bulk), ...await describeRoutes(options, versions) },
    settings: describeSettings(options, plan),
    plan,
    routes: contenders.map(({ name }) => name),
    results,
  };
}

function goalsOf({ rttMs, stalledStreams }: BenchOptions) {
  return rttMs === undefined ? loopbackGoals(stalledStreams) : lineGoals(rttMs);
}

/** Versions of the peers that are to take part, by name; undefined where one is not installed. */
async function findPeers(options: BenchOptions): Promise<Map<RouteName, string | undefined>> {
  const wanted = peers.filter(({ name }) => options.peers.includes(name));
  const versions = await Promise.all(wanted.map((peer) => peer.version()));
  return new Map(wanted.map(({ name }, index) => [name, versions[index]]));
}

function findContenders(
  { rounds, peerRounds, before }: BenchOptions,
  versions: ReadonlyMap<RouteName, string | undefined>,
): Contender[] {
  const found = peers.filter(({ name }) => versions.get(name) !== undefined);
  return [
    { name: "direct", start: startDirect, rounds: peerRounds },
    ...found.map(({ name, start }) => {
      return { name, start, rounds: name === "rathole" ? rounds : peerRounds };
    }),
    ...before ? [{ name: "before", start: startCulvertOf(before), rounds } as const] : [],
    { name: "culvert", start: startCulvert, rounds },
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
): Record<string, string> {
  return {
    target: target.description,
    requests: requests.description,
    bulk: bulk.description,
  };
}

async function describeRoutes(
  { before }: BenchOptions,
  versions: ReadonlyMap<RouteName, string | undefined>,
): Promise<Record<string, string>> {
  const found = peers.filter(({ name }) => versions.has(name)).map(({ name, source }) => {
    return [name, versions.get(name) ?? `not on the PATH: not compared (${source})`];
  });
  const commit = before && `culvert, commit ${await commitOf(before.pathname) ?? "unknown"}`;
  return { ...Object.fromEntries(found), ...(commit === undefined ? {} : { before: commit }) };
}

function describeSettings(options: BenchOptions, plan: Plan): string[] {
  const { rttMs, rateMbit, logLevel, isQuick } = options;
  const bulkMb = plan.bulkBytes / MEGABYTE;
  const line = rttMs === undefined
    ? "all on loopback, the ends of a tunnel in plain TCP"
    : `${rttMs} ms round trip and ${rateMbit} Mbit/s each way between the ends of a tunnel, ` +
      "or between caller and target when direct";
  return [
    `line: ${line}`,
    `each row: ${plan.loadSeconds} s of requests after ${plan.warmUpSeconds} s of warming up, or ` +
    `${bulkMb} MB after another ${bulkMb} MB; ${describeRounds(options)}; log level ${logLevel}` +
    `${isQuick ? "; --quick: not for publication" : ""}`,
    "memory in MB of 1,000,000 bytes; CPU and memory of a peer's server under relay, of its client " +
    "under agent; over TLS the caller of rathole, chisel and frp speaks TLS itself, that of " +
    "culvert and HAProxy does not",
  ];
}

function describeRounds({ rounds, peerRounds }: BenchOptions): string {
  if (rounds === 1) return "one round";
  const all = `medians of ${rounds} rounds, memory once`;
  if (peerRounds >= rounds) return all;
  return `${all}; direct and peers but rathole in ${peerRounds} of them`;
}
