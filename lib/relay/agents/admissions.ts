/** The agents that were let in, and whether they still would be. */
import { isolated } from "../../faults.ts";
import type { PeerCertificate } from "../../net/exchange.ts";
import type { Cluster } from "../../domain/cluster.ts";
import type { TokenMatch, TokenTable } from "./tokens.ts";

/** What an agent showed. */
export interface AgentCredentials {
  /** SHA-256 of its token. */
  readonly digest: Uint8Array;
  readonly certificate: PeerCertificate | undefined;
}

/** Why an agent is not let in, or not any longer. */
export interface Refusal {
  /**
   * `certificate`: the token is right, but the cluster is bound to certificates of other names.
   * `full`: all is right, but the cluster has as many sessions as it may.
   */
  readonly kind: "unknown_token" | "expired" | "certificate" | "full";
  /** Whose token it is; absent for one that is nobody's. */
  readonly cluster?: Cluster;
  readonly tokenName?: string;
}

/** An agent that shows what does not fit. */
type Misfit = Refusal & { readonly kind: Exclude<Refusal["kind"], "full"> };

/**
 * So long before its certificate ends an agent is asked to connect anew, with what its files hold by
 * then, so that what is open has time to finish. Issuers renew certificates long before that.
 */
const renewalLeadMs = 5 * 60_000;

/** An agent that was let in. */
export class Admission {
  readonly credentials: AgentCredentials;
  #match: TokenMatch;
  /** Why it was put out; nothing while it is in. */
  #reason: string | undefined;
  #onRevoked: ((reason: string) => void) | undefined;
  /** When its agent is to be asked for a newer certificate; infinite for not at all. */
  readonly #renewalMs: number;
  #onRenewal: (() => void) | undefined;

  /** @param nowMs Milliseconds since 1970. */
  constructor(credentials: AgentCredentials, match: TokenMatch, nowMs: number) {
    this.credentials = credentials;
    this.#match = match;
    const renewalMs = this.#certificateExpiresMs - renewalLeadMs;
    // One that came with so little time left has nothing newer, and would be asked time and again.
    this.#renewalMs = renewalMs > nowMs ? renewalMs : Infinity;
  }

  /** The cluster as it is configured now. */
  get cluster(): Cluster {
    return this.#match.cluster;
  }

  /** The name of the token that it showed. */
  get tokenName(): string {
    return this.#match.tokenName;
  }

  /** Milliseconds since 1970 at which its token or its certificate ends; infinite for neither. */
  get expiresMs(): number {
    return Math.min(this.#match.expiresMs, this.#certificateExpiresMs);
  }

  /** What of it ends first. */
  get brief(): "expired" | "certificate_expired" {
    return this.#match.expiresMs <= this.#certificateExpiresMs ? "expired" : "certificate_expired";
  }

  get #certificateExpiresMs(): number {
    return this.credentials.certificate?.expiresMs ?? Infinity;
  }

  /** Goes on under what a new configuration says. */
  renew(match: TokenMatch): void {
    this.#match = match;
  }

  /** Says who is to be told when the agent must go; at once if that has been decided. */
  whenRevoked(listener: (reason: string) => void): void {
    if (this.#reason !== undefined) listener(this.#reason);
    else this.#onRevoked = listener;
  }

  /** Says who is to be told, once, that the agent's certificate ends soon. */
  whenToRenew(listener: () => void): void {
    this.#onRenewal = listener;
  }

  /** Tells that the certificate ends soon, if it does. @param nowMs Milliseconds since 1970. */
  remind(nowMs: number): void {
    if (nowMs < this.#renewalMs) return;
    const listener = this.#onRenewal;
    this.#onRenewal = undefined;
    listener?.();
  }

  /** Puts the agent out. */
  revoke(reason: string): void {
    this.#reason = reason;
    this.#onRevoked?.(reason);
  }
}

/** Sessions of one cluster: whoever has one token must not be able to fill the memory of all. */
export const maxSessionsPerCluster = 1_024;

/** How often expiries are compared with the clock. A clock may jump, so no timer runs until one. */
const sweepMs = 1_000;

/** Lets agents in, and puts them out when what they showed ends or the configuration changes. */
export class Admissions {
  #tokens: TokenTable;
  readonly #nowMs: () => number;
  readonly #admissions = new Set<Admission>();
  /** How many there are of each cluster, by its id. */
  readonly #counts = new Map<string, number>();
  #sweep: ReturnType<typeof setInterval> | undefined;

  /** @param nowMs Milliseconds since 1970. */
  constructor(tokens: TokenTable, nowMs: () => number = () => Date.now()) {
    this.#tokens = tokens;
    this.#nowMs = nowMs;
  }

  /** Looks at what an agent shows. What is returned must be given to {@link leave} in the end. */
  admit(credentials: AgentCredentials): Admission | Refusal {
    const verdict = this.#judge(this.#tokens.find(credentials.digest), credentials);
    if ("kind" in verdict) return verdict;
    const { cluster, tokenName } = verdict;
    const count = this.#counts.get(cluster.id) ?? 0;
    if (count >= maxSessionsPerCluster) return { kind: "full", cluster, tokenName };
    const admission = new Admission(credentials, verdict, this.#nowMs());
    this.#admissions.add(admission);
    this.#counts.set(cluster.id, count + 1);
    this.#watchExpiry(admission);
    return admission;
  }

  /** The agent is gone. */
  leave(admission: Admission): void {
    if (!this.#admissions.delete(admission)) return;
    const { id } = admission.cluster;
    const count = (this.#counts.get(id) ?? 0) - 1;
    if (count > 0) this.#counts.set(id, count);
    else this.#counts.delete(id);
  }

  /**
   * Takes a new configuration: agents that it would not let in are put out, the others go on under
   * their clusters' new entries.
   */
  replace(tokens: TokenTable): TableChanges {
    const changes = this.#tokens.changesTo(tokens);
    this.#tokens = tokens;
    let ended = 0;
    for (const admission of this.#admissions) {
      const { credentials, cluster } = admission;
      const verdict = this.#judge(tokens.get(credentials.digest), credentials);
      if (!("kind" in verdict) && verdict.cluster.id === cluster.id) {
        admission.renew(verdict);
        this.#watchExpiry(admission);
        continue;
      }
      ended++;
      this.#revoke(admission, "kind" in verdict ? reasons[verdict.kind] : reasons.unknown_token);
    }
    return { clusters: tokens.size, ...changes, sessions_ended: ended };
  }

  /** Puts out those whose token or certificate has ended, and reminds the next ones; the timer calls it. */
  expire(): void {
    const now = this.#nowMs();
    let mayExpire = false;
    for (const admission of this.#admissions) {
      if (admission.expiresMs <= now) {
        this.#revoke(admission, reasons[admission.brief]);
        continue;
      }
      isolated("session", () => admission.remind(now));
      mayExpire ||= admission.expiresMs !== Infinity;
    }
    if (mayExpire) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #judge(
    match: TokenMatch | undefined,
    { certificate }: AgentCredentials,
  ): TokenMatch | Misfit {
    if (!match) return { kind: "unknown_token" };
    const { cluster, tokenName, expiresMs } = match;
    if (expiresMs <= this.#nowMs()) return { kind: "expired", cluster, tokenName };
    const { certificateNames } = cluster;
    if (certificateNames && !certificate?.names.some((name) => certificateNames.includes(name))) {
      return { kind: "certificate", cluster, tokenName };
    }
    return match;
  }

  #revoke(admission: Admission, reason: string): void {
    this.leave(admission);
    // The others must lose what they may not keep, too.
    isolated("session", () => admission.revoke(reason));
  }

  /** The timer runs only while something of somebody's can end. */
  #watchExpiry({ expiresMs }: Admission): void {
    if (expiresMs !== Infinity) this.#sweep ??= setInterval(() => this.expire(), sweepMs);
  }
}

/** What a new configuration changed, for the log. */
export interface TableChanges {
  readonly clusters: number;
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
  readonly sessions_ended: number;
}

/** The reasons for the session's close frame. */
const reasons: Readonly<Record<Misfit["kind"] | Admission["brief"], string>> = {
  unknown_token: "The cluster or its token was removed",
  expired: "The token has expired",
  certificate_expired: "The client certificate has expired",
  certificate: "The cluster no longer accepts the client certificate",
};
