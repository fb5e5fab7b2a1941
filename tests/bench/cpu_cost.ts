/** CPU time of a tunnel's two ends while something runs. */
import type { Figures, Metric } from "./measurement.ts";
import { cpuSeconds } from "./process_figures.ts";
import type { Role, RouteProcess } from "./route.ts";

/** What something cost. */
export interface Cost<T> {
  readonly result: T;
  /** CPU seconds by the end of the tunnel that spent them; empty for the direct way. */
  readonly seconds: ReadonlyMap<Role, number>;
}

/** Runs `work` and counts the CPU seconds of each process meanwhile. */
export async function withCpuCost<T>(
  processes: readonly RouteProcess[],
  work: () => Promise<T>,
): Promise<Cost<T>> {
  const before = await Promise.all(processes.map(({ pid }) => cpuSeconds(pid)));
  const result = await work();
  const after = await Promise.all(processes.map(({ pid }) => cpuSeconds(pid)));
  const seconds = new Map(
    processes.map(({ role }, index) => [role, (after[index] ?? 0) - (before[index] ?? 0)] as const),
  );
  return { result, seconds };
}

/** The two metrics that {@link cpuFigures} fills; `per` completes "CPU seconds per …". */
export function cpuMetrics(per: string): Metric[] {
  return [
    { key: "relayCpu", label: `CPU of relay per ${per}`, unit: "s" },
    { key: "agentCpu", label: `CPU of agent per ${per}`, unit: "s" },
  ];
}

/** The cost of one unit of work when `units` of them were done. */
export function cpuFigures(seconds: ReadonlyMap<Role, number>, units: number): Figures {
  return Object.fromEntries([...seconds].map(([role, spent]) => [`${role}Cpu`, spent / units]));
}
