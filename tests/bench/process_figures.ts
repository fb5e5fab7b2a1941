/** CPU time, memory and open handles of a process, from Linux's /proc. */
import { outputOf } from "./subprocess.ts";
import { pause } from "./wait.ts";

/** Bytes in the unit that /proc calls kB. */
const KIBIBYTE = 1024;

/** How often memory is looked at while something runs or settles. */
const SAMPLE_INTERVAL_MS = 200;

let ticksPerSecond: Promise<number> | undefined;

/** How many of the kernel's units of CPU time make a second. */
export function clockTicksPerSecond(): Promise<number> {
  return ticksPerSecond ??= outputOf(["getconf", "CLK_TCK"]).then(Number);
}

/** CPU seconds (user and system, all threads) that the process has used so far. */
export async function cpuSeconds(pid: number): Promise<number> {
  const { own } = await cpuTicks(pid);
  return own / await clockTicksPerSecond();
}

/** The same with what its children used, and theirs; a child counts once it has ended. */
export async function cpuSecondsWithChildren(pid: number): Promise<number> {
  const { own, children } = await cpuTicks(pid);
  return (own + children) / await clockTicksPerSecond();
}

async function cpuTicks(pid: number): Promise<{ own: number; children: number }> {
  const stat = await readProc(pid, "stat");
  // The program's name stands in parentheses and may contain anyName: count from the last one.
  // What follows starts with field 3; user and system time are fields 14 and 15, the children's
  // 16 and 17 (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ").map(Number);
  const [user = NaN, system = NaN, childUser = NaN, childSystem = NaN] = fields.slice(11, 15);
  return { own: user + system, children: childUser + childSystem };
}

/** Resident memory of the process in bytes. */
export async function residentBytes(pid: number): Promise<number> {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(await readProc(pid, "status"));
  if (!match) throw new Error(`Process ${pid} has no resident memory: it has ended`);
  return Number(match[1]) * KIBIBYTE;
}

/** How many file descriptors the process has open. */
export async function openHandles(pid: number): Promise<number> {
  return (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
}

async function readProc(pid: number, file: string): Promise<string> {
  if (Deno.build.os !== "linux") throw new Error("Figures of a process need Linux (/proc)");
  return await Deno.readTextFile(`/proc/${pid}/${file}`);
}

/**
 * Resident memory once it no longer moves: less than 1 % between the ends of `quietMs`, or, when it
 * never rests, what it is after `timeoutMs`.
 */
export async function settledResidentBytes(
  pid: number,
  { quietMs = 2_000, timeoutMs = 10_000, signal }: {
    quietMs?: number;
    timeoutMs?: number;
    signal?: AbortSignal;
  } = {},
): Promise<number> {
  const deadline = performance.now() + timeoutMs;
  let before = await residentBytes(pid);
  while (performance.now() < deadline) {
    await pause(quietMs, signal);
    const now = await residentBytes(pid);
    if (Math.abs(now - before) < before / 100) return now;
    before = now;
  }
  return before;
}

/** The largest resident memory of each process while `work` runs, in bytes. */
export async function peakResidentBytes(
  pids: readonly number[],
  work: () => Promise<unknown>,
): Promise<number[]> {
  const peaks = pids.map(() => 0);
  const over = new AbortController();
  const sampling = (async () => {
    while (!over.signal.aborted) {
      const sizes = await Promise.all(pids.map(residentBytes));
      sizes.forEach((bytes, index) => peaks[index] = Math.max(peaks[index] ?? 0, bytes));
      await pause(SAMPLE_INTERVAL_MS, over.signal).catch(() => undefined);
    }
  })();
  try {
    await Promise.all([work().finally(() => over.abort()), sampling]);
  } finally {
    over.abort();
    await sampling.catch(() => undefined);
  }
  return peaks;
}
