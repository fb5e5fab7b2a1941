/** The relay's configuration, as the admin API needs it. */
import type { MoreServices } from "../config/entries/services.ts";
import type { EntryBody, EntryKind } from "../domain/admin.ts";
import type { ClusterEntry } from "../domain/cluster.ts";
import type { IndexedCluster } from "./cluster_index.ts";

/** The entries of the API that are to be used. */
export interface EntriesInUse extends MoreServices {
  readonly clusters: readonly ClusterEntry[];
}

/** Files and options, to which the API adds entries. */
export interface Configuration {
  /** Counts changes of the files. */
  readonly version: number;
  /** Whether the files have an entry of this id or name. */
  has(kind: EntryKind, name: string): boolean;
  /** The files' entries as JSON, without tokens; the id or name is in it. */
  entries(kind: EntryKind): readonly EntryBody[];
  /** What the files' clusters have. */
  indexed(): readonly IndexedCluster[];
  /** @throws {ConfigError} when a cluster does not go with policies and services */
  checkCluster(cluster: ClusterEntry, more: MoreServices): void;
  /** @throws {ConfigError} when services and policies of the API do not go with the files' */
  checkServices(more: MoreServices): void;
  /**
   * Tries the port of one of the API's services.
   *
   * @throws {ConfigError} when this relay can't have the address
   */
  checkPort(name: string, more: MoreServices): Promise<void>;
  /** Puts the API's entries in use, in place of those of before. */
  use(entries: EntriesInUse): Promise<void>;
}
