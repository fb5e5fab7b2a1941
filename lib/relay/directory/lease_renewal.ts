/** Which leases of sessions are renewed with each heartbeat: a share, so that all have their turn in time. */

/** How often. */
export interface RenewalTiming {
  /** Milliseconds between two heartbeats. */
  readonly heartbeatMs: number;
  /** Milliseconds after which each lease is renewed. */
  readonly renewalMs: number;
}

/** Goes round all leases, a share of them at a time. */
export class LeaseRenewal<Lease> {
  readonly #timing: RenewalTiming;
  /** Where the round goes on; undefined before the first lease. */
  #round: Iterator<Lease> | undefined;

  constructor(timing: RenewalTiming) {
    this.#timing = timing;
  }

  /** The leases that are due with this heartbeat. */
  due(leases: ReadonlyMap<unknown, Lease>): Lease[] {
    const { heartbeatMs, renewalMs } = this.#timing;
    const share = Math.ceil(leases.size * heartbeatMs / renewalMs);
    const due: Lease[] = [];
    while (due.length < share) {
      this.#round ??= leases.values();
      const next = this.#round.next();
      if (next.done) {
        this.#round = undefined;
        break;
      }
      due.push(next.value);
    }
    return due;
  }
}
