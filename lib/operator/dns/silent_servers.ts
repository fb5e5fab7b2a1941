/** Pauses requests to name servers that do not answer. */
import type { DnsOutcome, Zone } from "./rfc2136.ts";

interface Pause {
  readonly outcome: DnsOutcome;
  readonly untilMs: number;
}

/**
 * Remembers which zones' servers did not answer. Each request to one takes the whole timeout: with
 * hundreds of records, it would block everything else.
 *
 * A pause is for one zone at one server with one key: a server may be silent because it drops what this
 * key has signed, or has no such zone. Who has another key goes on asking it.
 */
export class SilentServers {
  readonly #pauseMs: number;
  readonly #nowMs: () => number;
  /** Bounded by the requests of one pause's time: those that are over are removed with each request. */
  readonly #pauses = new Map<string, Pause>();

  /** @param pauseMs How long no request is sent after one without an answer. */
  constructor(pauseMs: number, nowMs: () => number = () => performance.now()) {
    this.#pauseMs = pauseMs;
    this.#nowMs = nowMs;
  }

  /** Sends a request, or returns the last outcome during a pause. */
  async unlessSilent(zone: Zone, ask: () => Promise<DnsOutcome>): Promise<DnsOutcome> {
    const asked = pausedBy(zone);
    const pause = this.#pauses.get(asked);
    if (pause && this.#nowMs() < pause.untilMs) return pause.outcome;
    const outcome = await ask();
    this.#forgetOld();
    if (outcome.kind === "unreachable") {
      this.#pauses.set(asked, { outcome, untilMs: this.#nowMs() + this.#pauseMs });
    } else this.#pauses.delete(asked);
    return outcome;
  }

  #forgetOld(): void {
    for (const [asked, { untilMs }] of this.#pauses) {
      if (untilMs <= this.#nowMs()) this.#pauses.delete(asked);
    }
  }
}

/** What a pause is for. It has the secret too: a wrong one must not pause those who have the right one. */
function pausedBy({ server, name, key }: Zone): string {
  return JSON.stringify([server, name, key.name, key.algorithm, key.secret.toBase64()]);
}
