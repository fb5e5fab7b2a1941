/** What the admin API knows of entries, beside what the relay uses of them. */
import type { ClusterEntry } from "../../domain/cluster.ts";
import type { ClusterStatus, ServiceStatus } from "../../domain/status.ts";

/** Looks up an entry of the API; entries of the configuration are unknown to it. */
export interface EntryFacts {
  cluster(
    id: string,
  ): Pick<ClusterStatus, "source" | "owner" | "leaseEndsMs" | "isAccepted"> | undefined;
  service(name: string): Pick<ServiceStatus, "source"> | undefined;
  /** Entries that wait to be accepted: the relay does not use them. */
  waitingClusters(): readonly ClusterEntry[];
}

/** The facts of a relay without the admin API: none. */
export const noEntryFacts: EntryFacts = {
  cluster: () => undefined,
  service: () => undefined,
  waitingClusters: () => [],
};
