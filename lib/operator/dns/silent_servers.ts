/** Pauses requests to name servers that do not answer. */
import type { DnsOutcome, Zone } from "./rfc2136.ts";

interface Pause {
  readonly outcome: DnsOutcome;
  readonly untilMs: number;
}

/**
 * Remembers which servers did not answer. Each request to such a server takes the whole timeout, which
 * with hundreds of records would block everything else.
 *
 * A pause applies to one zone at one server with one key. A server may be silent because it drops
 * messages that are signed with this key, or has no such zone; with other keys it is asked as before.
 */
export class SilentServers {
  readonly #pauseMs: number;
  readonly #nowMs: () => number;
  /** The pauses that are not over. Each request removes the others, so their number is bounded. */
  readonly #pauses = new Map<string, Pause>();

  /** @param pauseMs How long to send no request after one without an answer. */
  constructor(pauseMs: number, nowMs: () => number = () => performance.now()) {
    this.#pauseMs = pauseMs;
    this.#nowMs = nowMs;
  }

  /** Sends a request, or during a pause returns the last outcome. */
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

/** Identifies a pause. It includes the secret, so that a wrong one does not pause users of the right one. */
function pausedBy({ server, name, key }: Zone): string {
  return JSON.stringify([server, name, key.name, key.algorithm, key.secret.toBase64()]);
}
