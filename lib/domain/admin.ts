/** The admin API: who may use it, and the entries that it stores. */
import type { TokenSecret } from "./cluster.ts";

/** A token of the admin API and what it may do. */
export interface AdminToken extends TokenSecret {
  /** The token's name, for the audit log and as the prefix of its policies' names. */
  readonly name: string;
  /** Ids of clusters, or their beginnings with `*` behind. */
  readonly clusters: readonly string[];
  /** Hostnames, `*.` in front for one label; `*` for all. */
  readonly hostnames: readonly string[];
  /** Clusters that it may have added at once; absent for no bound. */
  readonly maxClusters?: number | undefined;
  /** Milliseconds since 1970 from which it is not accepted any more. */
  readonly expiresMs?: number | undefined;
  /** Whether it may see people's sessions, and end them. */
  readonly people: boolean;
  /** Whether its clusters are used at once; else they wait until another token accepts them. */
  readonly autoAccept: boolean;
  /** The longest lease of its entries, and that of those that ask for none; absent for no bound. */
  readonly leaseSeconds?: number | undefined;
}

/** What kinds of entries there are, as the API's paths name them. */
export const entryKinds = ["clusters", "services", "policies"] as const;

/** One of {@link entryKinds}. */
export type EntryKind = (typeof entryKinds)[number];

/** An entry as files and the API have it: JSON, without its id or name. */
export type EntryBody = Readonly<Record<string, unknown>>;

/** An entry that was added through the API. It holds no token, only tokens' SHA-256. */
export interface StoredEntry {
  readonly kind: EntryKind;
  /** The id of a cluster, or the name of a service or policy. */
  readonly name: string;
  readonly body: EntryBody;
  /** The name of the token that added it. */
  readonly by: string;
  /** Who looks after it: nobody else changes it. */
  readonly owner?: string | undefined;
  /** False for a cluster that is not used yet. */
  readonly isAccepted: boolean;
  readonly lease?: EntryLease | undefined;
}

/** An entry's lease: unless it is renewed, the entry goes. */
export interface EntryLease {
  readonly seconds: number;
  /** Milliseconds since 1970. */
  readonly endsMs: number;
}
