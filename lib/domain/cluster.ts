/** Clusters and their agents' tokens, as every room speaks of them. */
import type { Hostname } from "./hostname.ts";
import type { ImpersonationMap } from "./identity.ts";
import type { LimitValues } from "./limits.ts";

/** One cluster that a relay serves. */
export interface Cluster {
  /** The id in the path `/tunnel/{id}/…`: 1 to 253 of `A-Z a-z 0-9 . _ -`, but neither "." nor "..". */
  readonly id: string;
  /**
   * The target of `/tunnel/{id}/…` as the agent names it: `HOST:PORT`, or a name. Absent where services
   * alone use the cluster: there is nothing at its path then.
   */
  readonly targetAddr?: string | undefined;
  /** What becomes of requests with `Impersonate-*` headers. */
  readonly impersonation: Impersonation;
  /** One of these must be a name in the agent's client certificate; absent when none is needed. */
  readonly certificateNames?: readonly string[] | undefined;
  /** Replaces the relay's `--response-timeout`, in milliseconds; 0 is no limit. */
  readonly responseTimeoutMs?: number | undefined;
  /** Replaces the relay's limits for each cluster. */
  readonly limits?: Partial<LimitValues> | undefined;
  /** The policy that narrows who may use it under its path; absent for none. */
  readonly callerPolicy?: string | undefined;
  /** Whom of the cluster's users its callers stand for; absent where all are the agent. */
  readonly impersonate?: ImpersonationMap | undefined;
  /** The hostnames that its agents may claim; absent for none. */
  readonly claims?: ClaimableHostnames | undefined;
}

/**
 * - `refuse`: such a request is answered with 403, since without its headers it would get all that the
 *   agent's credential may do, where its caller asked for the rights of somebody else.
 * - `strip`: the headers are dropped.
 * - `forward`: they reach the target, which decides by the agent's credential whether they count.
 */
export type Impersonation = (typeof impersonations)[number];

/** The values of {@link Impersonation}. */
export const impersonations = ["refuse", "strip", "forward"] as const;

/** A cluster and the tokens of its agents, as the configuration has them. */
export interface ClusterEntry extends Cluster {
  /** At least one, each unique among all clusters. */
  readonly tokens: readonly ClusterToken[];
}

/** Hostnames that agents may claim, and who may use them then. */
export interface ClaimableHostnames {
  readonly hostnames: readonly Hostname[];
  readonly policy: string;
}

/** A token, or its digest. */
export interface TokenSecret {
  /** A secret. */
  readonly token?: string | undefined;
  /** SHA-256 of the token, 64 hexadecimal digits in lower case. */
  readonly tokenSha256?: string | undefined;
}

/** A token of a cluster's agents. */
export interface ClusterToken extends TokenSecret {
  /** The token's name for logs; unique within the cluster. */
  readonly name: string;
  /** Milliseconds since 1970 from which the token is not accepted any more; absent for never. */
  readonly expiresMs?: number | undefined;
}
