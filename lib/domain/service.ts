/** Services: what a relay publishes at hostnames of their own. */
import { AddressRanges } from "./address_ranges.ts";
import type { Impersonation } from "./cluster.ts";
import type { Hostname } from "./hostname.ts";
import type { IdentityRules } from "./identity.ts";
import type { LimitValues } from "./limits.ts";

/** What a service's callers speak: requests, bytes, or TLS that the relay does not open. */
export const serviceKinds = ["http", "tcp", "tls"] as const;

/** The values of {@link serviceKinds}. */
export type ServiceKind = (typeof serviceKinds)[number];

/** The policy of a service that anybody may use. */
export const PUBLIC_POLICY = "public";

/** One service. */
export interface Service {
  readonly name: string;
  readonly hostnames: readonly Hostname[];
  /** The id of the cluster whose agents reach the target. */
  readonly cluster: string;
  /** What the agent is asked for; undefined where the agent says it when it claims a hostname. */
  readonly target: string | undefined;
  readonly kind: ServiceKind;
  /** Who may use it: {@link PUBLIC_POLICY}, or the name of a policy. */
  readonly policy: string;
  /** Who vouches for the people who use it; undefined where nobody does but `--caller-jwt-issuer`. */
  readonly provider?: string | undefined;
  /** What the JWT of a provider's header must be for. */
  readonly audience?: string | undefined;
  /** Paths that anybody may use: exact ones, or beginnings that end in `/`. */
  readonly anonymousPaths?: readonly string[] | undefined;
  /** Whether its pages may register service workers though people sign in to it. */
  readonly serviceWorkers?: boolean | undefined;
  /** Origins of pages that may frame it, besides its own. */
  readonly frameOrigins?: readonly string[] | undefined;
  /** What its target is told about callers; absent for nothing. */
  readonly identity?: IdentityRules | undefined;
  /** `Host` for the target: what the caller asked for, or the target's own. */
  readonly host: "public" | "target";
  /** Who reads `Authorization`. */
  readonly authorization: "culvert" | "app";
  readonly impersonation: Impersonation;
  /** Where the relay listens for bare TCP connections of the service, if it does. */
  readonly listen?: { readonly hostname: string; readonly port: number } | undefined;
  /** Whether it speaks TLS there. */
  readonly listenTls?: boolean | undefined;
  /** Addresses and ranges of them that may connect there; undefined leaves it to the policy. */
  readonly allow?: readonly string[] | undefined;
  /** Replaces the cluster's, in milliseconds; 0 is no limit. */
  readonly responseTimeoutMs?: number | undefined;
  /** Bounds of its own, besides those of its cluster. */
  readonly limits?: Partial<LimitValues> | undefined;
  /** How many of its latest requests the status shows; none without it. */
  readonly recentRequests?: number | undefined;
  /** What happens to the fields of its responses. */
  readonly headers: ResponseHeaders;
  /** Origins whose pages may use it, as `https://app.example.com`. */
  readonly corsOrigins: readonly string[];
}

/** Changes to the fields of a response. */
export interface ResponseHeaders {
  readonly set: readonly (readonly [name: string, value: string])[];
  /** The names of fields to remove, in lower case. */
  readonly remove: readonly string[];
}

/** Whether a service's `allow` lists an address; without `allow`, every address counts as listed. */
export function allowsAddress({ allow }: Pick<Service, "allow">, address: string): boolean {
  return !allow || AddressRanges.parse(allow.join(","))!.has(address);
}
