/** Resident memory of the tunnel's two ends: idle, under load, and with streams nobody reads. */
import { type Bench, type Figures, type Measurement, MEGABYTE } from "./measurement.ts";
import { peakResidentBytes, settledResidentBytes } from "./process_figures.ts";
import { sendRequests } from "./request_measurements.ts";
import type { Route, RouteProcess } from "./route.ts";
import { openStalled } from "./stalled.ts";

/** Connections of the load under which memory is looked at. */
const LOAD_CONNECTIONS = 256;

/** Memory of processes that have served one request, under load, and after it. */
export const measureMemory: Measurement = {
  id: "memory/idle-and-load",
  title: `Resident memory (load: ${LOAD_CONNECTIONS} connections, keep-alive, plain target)`,
  metrics: [
    { key: "relayIdle", label: "relay, idle", unit: "MB" },
    { key: "agentIdle", label: "agent, idle", unit: "MB" },
    { key: "relayLoad", label: "relay, highest under load", unit: "MB" },
    { key: "agentLoad", label: "agent, highest under load", unit: "MB" },
    { key: "relayAfter", label: "relay, settled after it", unit: "MB" },
    { key: "agentAfter", label: "agent, settled after it", unit: "MB" },
  ],
  needsFreshRoute: true,
  async run(route, bench) {
    const processes = route.processes("plain");
    if (processes.length === 0) return {};
    const shape = { kind: "plain", isKeepAlive: true, connections: LOAD_CONNECTIONS } as const;
    const idle = await settled(processes, bench);
    const peak = await peakResidentBytes(
      processes.map(({ pid }) => pid),
      () => sendRequests(route, bench, shape, bench.plan.loadSeconds),
    );
    const after = await settled(processes, bench);
    return {
      ...figures(processes, "Idle", idle),
      ...figures(processes, "Load", peak),
      ...figures(processes, "After", after),
    };
  },
};

/** What so many downloads cost that are opened and not read. */
export function measureStalled(count: number): Measurement {
  return {
    id: "memory/stalled",
    title: `Memory growth with ${count.toLocaleString("en-US")} open streams that nobody reads`,
    metrics: [
      { key: "relayGrowth", label: "relay, growth", unit: "MB" },
      { key: "agentGrowth", label: "agent, growth", unit: "MB" },
    ],
    needsFreshRoute: true,
    async run(route, bench) {
      const processes = route.processes("plain");
      if (processes.length === 0) return {};
      const before = await settled(processes, bench);
      const after = await withStalledStreams(route, bench, () => settled(processes, bench));
      return figures(processes, "Growth", after.map((bytes, index) => bytes - before[index]!));
    },
  };
}

async function withStalledStreams<T>(
  route: Route,
  bench: Bench,
  work: () => Promise<T>,
): Promise<T> {
  const { target, plan, signal } = bench;
  using stalled = await openStalled({
    url: new URL(route.url("plain", target.stalledPath)),
    bytes: target.stalledBytes,
    count: plan.stalledStreams,
    signal,
  });
  const result = await work();
  await stalled.checkOneGoesOn();
  return result;
}

async function settled(
  processes: readonly RouteProcess[],
  { signal }: Bench,
): Promise<number[]> {
  return await Promise.all(processes.map(({ pid }) => settledResidentBytes(pid, { signal })));
}

function figures(
  processes: readonly RouteProcess[],
  state: string,
  bytes: readonly number[],
): Figures {
  return Object.fromEntries(
    processes.map(({ role }, index) => [`${role}${state}`, bytes[index]! / MEGABYTE]),
  );
}
