/** Pauses requests to name servers that do not answer. */
import type { DnsOutcome } from "./rfc2136.ts";

interface Pause {
  readonly outcome: DnsOutcome;
  readonly untilMs: number;
}

/**
 * Remembers which servers did not answer. Each request to one takes the whole timeout: with hundreds of
 * records, it would block everything else.
 */
export class SilentServers {
  readonly #pauseMs: number;
  readonly #nowMs: () => number;
  readonly #pauses = new Map<string, Pause>();

  /** @param pauseMs How long no request is sent to a server that did not answer. */
  constructor(pauseMs: number, nowMs: () => number = () => performance.now()) {
    this.#pauseMs = pauseMs;
    this.#nowMs = nowMs;
  }

  /** Sends a request, or returns the last outcome if the server is paused. */
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
