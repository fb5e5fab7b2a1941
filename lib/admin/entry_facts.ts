/** What the status shows of the API's entries. */
import type { ClusterEntry } from "../domain/cluster.ts";
import type { EntryFacts } from "../relay/status/entry_facts.ts";
import type { AdminEntries } from "./entries.ts";

/** Looks them up. */
export function entryFacts(entries: AdminEntries): EntryFacts {
  return {
    cluster(id) {
      const stored = entries.get("clusters", id)?.stored;
      if (!stored) return undefined;
      const { owner, isAccepted, lease } = stored;
      return { source: "api", owner, isAccepted, leaseEndsMs: lease?.endsMs };
    },
    service: (name) => entries.get("services", name) ? { source: "api" } : undefined,
    waitingClusters: () =>
      [...entries.list("clusters")].filter(({ stored }) => !stored.isAccepted)
        .map(({ usable }) => usable as ClusterEntry),
  };
}
