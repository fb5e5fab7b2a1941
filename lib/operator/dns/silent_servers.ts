/** Name servers that do not answer: they are left alone for a while, and hold up nobody. */
import type { DnsOutcome } from "./rfc2136.ts";

interface Pause {
  readonly outcome: DnsOutcome;
  readonly untilMs: number;
}

/**
 * Remembers which servers were silent. Each question to one takes its whole timeout: with hundreds of
 * records, nothing else would be done meanwhile.
 */
export class SilentServers {
  readonly #pauseMs: number;
  readonly #nowMs: () => number;
  readonly #pauses = new Map<string, Pause>();

  /** @param pauseMs How long a server is left alone. */
  constructor(pauseMs: number, nowMs: () => number = () => performance.now()) {
    this.#pauseMs = pauseMs;
    this.#nowMs = nowMs;
  }

  /** Asks a server, or answers what came of it last time, if that was nothing and not long ago. */
  async unlessSilent(server: string, ask: () => Promise<DnsOutcome>): Promise<DnsOutcome> {
    const pause = this.#pauses.get(server);
    if (pause && this.#nowMs() < pause.untilMs) return pause.outcome;
    const outcome = await ask();
    this.#forgetOld();
    if (outcome.kind === "unreachable") {
      this.#pauses.set(server, { outcome, untilMs: this.#nowMs() + this.#pauseMs });
    } else this.#pauses.delete(server);
    return outcome;
  }

  #forgetOld(): void {
    for (const [server, { untilMs }] of this.#pauses) {
      if (untilMs <= this.#nowMs()) this.#pauses.delete(server);
    }
  }
}
