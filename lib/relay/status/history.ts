/** How much a relay has had to do in the last minutes. */
import type { Registry } from "../agents/registry.ts";
import type { Session } from "../../protocol/session.ts";

/** One measurement. */
export interface Sample {
  readonly atMs: number;
  readonly agents: number;
  readonly openStreams: number;
  /** Bytes per second in both directions together. */
  readonly bytesPerSecond: number;
}

/** The time between two measurements, in milliseconds. */
const everyMs = 10_000;
/** Measurements that are kept: a quarter of an hour. */
const maxSamples = 90;

/** Measures from time to time, when it is asked to. */
export class History {
  readonly #registry: Pick<Registry, "all">;
  readonly #openStreams: () => number;
  readonly #samples: Sample[] = [];
  /** Bytes that each session had carried at the last measurement. */
  readonly #carried = new WeakMap<Session, number>();

  constructor(registry: Pick<Registry, "all">, openStreams: () => number) {
    this.#registry = registry;
    this.#openStreams = openStreams;
  }

  /** The oldest first. */
  get samples(): readonly Sample[] {
    return this.#samples;
  }

  /** Measures, unless it has done so a moment ago. To be called at least as often. */
  measure(nowMs: number): void {
    const last = this.#samples.at(-1);
    if (last && nowMs - last.atMs < everyMs) return;
    let agents = 0;
    let moved = 0;
    for (const { session } of this.#registry.all()) {
      agents++;
      const carried = session.stats.bytesIn + session.stats.bytesOut;
      moved += carried - (this.#carried.get(session) ?? 0);
      this.#carried.set(session, carried);
    }
    const seconds = last ? (nowMs - last.atMs) / 1_000 : 0;
    this.#samples.push({
      atMs: nowMs,
      agents,
      openStreams: this.#openStreams(),
      bytesPerSecond: seconds > 0 ? moved / seconds : 0,
    });
    if (this.#samples.length > maxSamples) this.#samples.shift();
  }
}
