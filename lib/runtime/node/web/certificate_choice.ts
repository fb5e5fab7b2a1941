/** Which of several certificates a client is shown. */

/** What the choice depends on. */
export interface Candidate {
  /** The name of its files, for the log. */
  readonly name: string;
  /** The DNS names in its subjectAltName. */
  readonly dnsNames: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A host that more than one certificate fits. */
export interface Contest<T extends Candidate> {
  readonly host: string;
  readonly chosen: T;
  readonly others: readonly T[];
}

/** Certificates by the names that they are for. */
export class CertificateChoice<T extends Candidate> {
  readonly #byName = new Map<string, T>();
  readonly #first: T | undefined;
  /** Names for which one of several was chosen. */
  readonly contests: readonly Contest<T>[];

  constructor(candidates: readonly T[], nowMs: number) {
    const sorted = candidates.toSorted((one, other) => one.name < other.name ? -1 : 1);
    this.#first = sorted[0];
    const fitting = new Map<string, T[]>();
    for (const candidate of sorted) {
      for (const host of new Set(candidate.dnsNames.map(canonical))) {
        fitting.set(host, [...fitting.get(host) ?? [], candidate]);
      }
    }
    const contests: Contest<T>[] = [];
    for (const [host, all] of fitting) {
      const [chosen, ...others] = all.toSorted((one, other) =>
        rank(other, nowMs) - rank(one, nowMs)
      );
      this.#byName.set(host, chosen!);
      if (others.length > 0) contests.push({ host, chosen: chosen!, others });
    }
    this.contests = contests;
  }

  /** The certificate for a client that asks for no name: the first by its files' name. */
  get first(): T | undefined {
    return this.#first;
  }

  /** An exact name wins over a wildcard, then the latest end does. @param host With `*.` or without. */
  for(host: string): T | undefined {
    const name = canonical(host);
    const exact = this.#byName.get(name);
    if (exact || name.startsWith("*.")) return exact;
    const dot = name.indexOf(".");
    return dot > 0 ? this.#byName.get(`*${name.slice(dot)}`) : undefined;
  }
}

/** One that is not valid yet comes last. */
function rank({ notBefore, notAfter }: Candidate, nowMs: number): number {
  return notAfter.getTime() - (notBefore.getTime() > nowMs ? Number.MAX_SAFE_INTEGER : 0);
}

function canonical(host: string): string {
  return host.toLowerCase().replace(/\.$/, "");
}
