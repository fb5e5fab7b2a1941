/** Memory and open handles of the processes that live as long as the soak. */
import { openHandles, residentBytes } from "../process_figures.ts";
import { leastSquaresSlope, type Sample } from "../statistics.ts";

/** A process and what was seen of it. */
interface Watched {
  readonly name: string;
  readonly pid: number;
  readonly handlesAtStart: number;
  /** x in minutes, y in bytes. */
  readonly memory: Sample[];
}

/** Looks at processes again and again. */
export class Watch {
  readonly #processes: readonly Watched[];
  readonly #startedMs = performance.now();

  private constructor(processes: readonly Watched[]) {
    this.#processes = processes;
  }

  /** Begins with the processes as they are now. */
  static async start(processes: readonly { name: string; pid: number }[]): Promise<Watch> {
    return new Watch(
      await Promise.all(processes.map(async ({ name, pid }) => ({
        name,
        pid,
        handlesAtStart: await openHandles(pid),
        memory: [],
      }))),
    );
  }

  /** Looks once; returns what it saw in a few words. */
  async sample(): Promise<string> {
    const minutes = (performance.now() - this.#startedMs) / 60_000;
    const words = this.#processes.map(async ({ name, pid, memory }) => {
      const bytes = await residentBytes(pid);
      memory.push({ x: minutes, y: bytes });
      return `${name} ${megabytes(bytes)} MB ${await openHandles(pid)} handles`;
    });
    return (await Promise.all(words)).join(", ");
  }

  /** A line for each process. */
  async report(): Promise<string[]> {
    return await Promise.all(
      this.#processes.map(async ({ name, pid, handlesAtStart, memory }) => {
        const first = memory[0]?.y ?? 0;
        const last = memory.at(-1)?.y ?? 0;
        const later = memory.slice(Math.floor(memory.length / 2));
        return `${name}: memory ${megabytes(first)} MB at the start, ${
          megabytes(last)
        } MB at the ` +
          `end, slope ${megabytes(leastSquaresSlope(memory))} MB/min ` +
          `(second half ${megabytes(leastSquaresSlope(later))}); ` +
          `open handles ${handlesAtStart} at the start, ${await openHandles(pid)} at the end`;
      }),
    );
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
