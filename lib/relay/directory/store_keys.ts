/** Where things are in the store that relays share. */
import type { Lease } from "./lease_record.ts";

/** Where a relay says that it is alive. */
export function relayKey(relay: string): string {
  return `culvert:relay:${relay}`;
}

/** Where the leases of a cluster are: a hash, with a field for each. */
export async function clusterKey(cluster: string): Promise<string> {
  return `culvert:cluster:${await digestOf(cluster)}`;
}

/** Which of those fields a lease is. */
export function leaseField({ relay, number }: Pick<Lease, "relay" | "number">): string {
  return `${relay}/${number}`;
}

/** Where it says that a session of a cluster was here a moment ago. */
export async function movingKey(cluster: string): Promise<string> {
  return `culvert:moving:${await digestOf(cluster)}`;
}

/** Clusters' names are for those who may ask for them, not for everybody who can list keys. */
async function digestOf(cluster: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(cluster));
  return new Uint8Array(digest).toHex();
}
