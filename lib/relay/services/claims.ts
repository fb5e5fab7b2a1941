/** Hostnames that agents ask for: which of them they get, by their cluster's entry. */
import type { ClaimableHostnames } from "../../domain/cluster.ts";
import type { ClaimedHostname } from "../../protocol/announcement.ts";
import { wildcardOf } from "./canonical_host.ts";

/** What becomes of an agent's claims. */
export interface ClaimDecision {
  /** The targets of those that it gets, by hostname. */
  readonly claims: ReadonlyMap<string, string>;
  /** Those that its cluster's entry does not list. */
  readonly refused: readonly string[];
}

/** Compares claims with what the entry lists; without a list no agent gets any. */
export function judgeClaims(
  claimed: readonly ClaimedHostname[],
  claimable: ClaimableHostnames | undefined,
): ClaimDecision {
  const listed = new Set(claimable?.hostnames.map(({ name }) => name));
  const isListed = (hostname: string) => listed.has(hostname) || listed.has(wildcardOf(hostname));
  const accepted = claimed.filter(({ hostname }) => isListed(hostname));
  return {
    claims: new Map(accepted.map(({ hostname, target }) => [hostname, target])),
    refused: claimed.filter(({ hostname }) => !isListed(hostname)).map(({ hostname }) => hostname),
  };
}
