/** What a run ran on. */
import { clockTicksPerSecond, cpuSecondsWithChildren } from "./process_figures.ts";
import { outputOf } from "./subprocess.ts";

/** The machine and the versions that a result belongs to. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly system: string;
  readonly deno: string;
  /** The checkout's commit, with "+" when files differ from it; undefined outside git. */
  readonly commit: string | undefined;
  /** Runnable processes, averaged over the minute before the run. */
  readonly loadBefore: number;
}

/** CPU seconds so far: of the whole machine, and of this process and its ended children. */
export interface CpuUse {
  readonly machineSeconds: number;
  readonly ownSeconds: number;
}

/** Reads both counts; undefined without /proc. */
export async function readCpuUse(): Promise<CpuUse | undefined> {
  if (Deno.build.os !== "linux") return undefined;
  const machine = await Deno.readTextFile("/proc/stat");
  // user, nice and system, in ticks; interrupts are nobody's (proc(5)).
  const ticks = /^cpu +(\d+) (\d+) (\d+)/m.exec(machine)?.slice(1).map(Number) ?? [];
  const machineTicks = ticks.reduce((sum, value) => sum + value, 0);
  return {
    machineSeconds: machineTicks / await clockTicksPerSecond(),
    ownSeconds: await cpuSecondsWithChildren(Deno.pid),
  };
}

/** CPU cores that programs outside the run kept busy, on average, between two readings. */
export function coresOfOthers(before: CpuUse, after: CpuUse, wallSeconds: number): number {
  const machine = after.machineSeconds - before.machineSeconds;
  const own = after.ownSeconds - before.ownSeconds;
  return Math.max(0, machine - own) / wallSeconds;
}

/** Looks the machine over. */
export async function describeMachine(): Promise<Machine> {
  return {
    cpu: await cpuModel(),
    cores: navigator.hardwareConcurrency,
    memoryGb: Math.round(Deno.systemMemoryInfo().total / 1e9),
    system: `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`,
    deno: Deno.version.deno,
    commit: await commitOf(import.meta.dirname ?? "."),
    loadBefore: Deno.loadavg()[0] ?? 0,
  };
}

async function cpuModel(): Promise<string> {
  try {
    const text = await Deno.readTextFile("/proc/cpuinfo");
    return /^model name\s*:\s*(.*)$/m.exec(text)?.[1] ?? "unknown CPU";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "unknown CPU"; // not Linux
    throw error;
  }
}

/** The commit of a checkout, with "+" when files differ from it; undefined outside git. */
export async function commitOf(folder: string): Promise<string | undefined> {
  const git = ["git", "-C", folder] as const;
  try {
    const hash = (await outputOf([...git, "rev-parse", "--short", "HEAD"])).trim();
    const changes = await outputOf([...git, "status", "--porcelain"]);
    return changes === "" ? hash : `${hash}+`;
  } catch (error) {
    if (error instanceof Error) return undefined; // no git, or no commit: a result without one
    throw error;
  }
}
