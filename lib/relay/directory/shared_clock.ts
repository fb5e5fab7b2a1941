/** The store's clock: the one that all relays share, however far apart their own are. */

/** How far this process's clock and the store's may move apart, in milliseconds for each of ours. */
const drift = 0.000_2;
/** A jump of the store's clock that is worth telling, in milliseconds. */
const minJumpMs = 100;

/** Milliseconds since 1970 on a clock that nobody sets: right when the process began, at least. */
export function steadyEpochMs(): number {
  return performance.timeOrigin + performance.now();
}

/** What was found out about the store's clock. */
interface Sample {
  /** The milliseconds to add to a time of this process. */
  readonly offsetMs: number;
  /** How wrong that may be: half of the time in which the reply came. */
  readonly errorMs: number;
  readonly takenMs: number;
}

/** Tells times of this process on the store's clock, and the other way round. */
export class SharedClock {
  readonly #nowMs: () => number;
  #sample: Sample | undefined;

  constructor(nowMs: () => number = steadyEpochMs) {
    this.#nowMs = nowMs;
  }

  /** Now, on this process's clock. */
  nowMs(): number {
    return this.#nowMs();
  }

  /** A time of this process on the store's clock; as it is while that is unknown. */
  toShared(ownMs: number): number {
    return Math.max(0, Math.round(ownMs + (this.#sample?.offsetMs ?? 0)));
  }

  /** A time of the store's on this process's clock. */
  toOwn(sharedMs: number): number {
    return sharedMs - (this.#sample?.offsetMs ?? 0);
  }

  /**
   * Takes a reply of the store's, seconds and microseconds. The reply that came fastest is the most
   * exact one, so it counts until clocks may have drifted further apart than that.
   *
   * @param askedMs When it was asked, on this process's clock.
   * @returns whether the store's clock has been set, or is another one: what was written by it before
   *   does not compare with what is written from now on.
   */
  read(reply: unknown, askedMs: number): boolean {
    const sharedMs = timeOf(reply);
    if (sharedMs === undefined) return false;
    const nowMs = this.#nowMs();
    const errorMs = (nowMs - askedMs) / 2;
    const next = { offsetMs: sharedMs - (askedMs + errorMs), errorMs, takenMs: nowMs };
    const last = this.#sample;
    const lastErrorMs = last ? last.errorMs + (nowMs - last.takenMs) * drift : Infinity;
    const apartMs = last ? Math.abs(next.offsetMs - last.offsetMs) : 0;
    const hasJumped = apartMs > errorMs + lastErrorMs + minJumpMs;
    if (hasJumped || errorMs <= lastErrorMs) this.#sample = next;
    return hasJumped;
  }
}

/** What Redis' TIME replies: two numbers as text. */
function timeOf(reply: unknown): number | undefined {
  if (!Array.isArray(reply) || reply.length !== 2) return undefined;
  const ms = Number(reply[0]) * 1_000 + Number(reply[1]) / 1_000;
  return Number.isFinite(ms) && ms >= 0 ? ms : undefined;
}
