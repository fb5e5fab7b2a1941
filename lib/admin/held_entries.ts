/** The entries of the admin API that a relay knows, as they are used, and what new ones are checked against. */
import { readBody, type UsableEntries } from "../config/entries/api_entries.ts";
import type { MoreServices } from "../config/entries/services.ts";
import { type EntryKind, entryKinds, type StoredEntry } from "../domain/admin.ts";
import { type CheckContext, checkEntry, checkPort } from "./check_entry.ts";
import { ClusterIndex, indexed } from "./cluster_index.ts";
import type { Configuration, EntriesInUse } from "./configuration.ts";
import { type DigestText, etagOf } from "./etag.ts";
import type { HeldEntry } from "./held_entry.ts";

/** What a change asks of the entries before it. */
export interface EntriesView {
  get(kind: EntryKind, name: string): HeldEntry | undefined;
  list(kind: EntryKind): Iterable<HeldEntry>;
}

/** What they are checked against, and marked with. */
export interface HeldEntriesContext {
  readonly configuration: Configuration;
  readonly digest: DigestText;
}

/** All of them. */
export class HeldEntries implements EntriesView {
  readonly #context: HeldEntriesContext;
  /** The entries that are in use, or wait to be accepted. */
  readonly #held: Record<EntryKind, Map<string, HeldEntry>> = {
    clusters: new Map(),
    services: new Map(),
    policies: new Map(),
  };
  /** The index of the files' clusters and these. */
  #index = new ClusterIndex();
  /** The configuration that the index is of. */
  #indexedVersion: number | undefined;

  constructor(context: HeldEntriesContext) {
    this.#context = context;
  }

  get(kind: EntryKind, name: string): HeldEntry | undefined {
    return this.#held[kind].get(name);
  }

  list(kind: EntryKind): Iterable<HeldEntry> {
    return this.#held[kind].values();
  }

  /** Those of all kinds. */
  all(): HeldEntry[] {
    return entryKinds.flatMap((kind) => [...this.list(kind)]);
  }

  /** Holds these and no others. */
  replaceAll(entries: readonly HeldEntry[]): void {
    for (const kind of entryKinds) this.#held[kind].clear();
    this.#indexedVersion = undefined;
    for (const held of entries) this.#held[held.stored.kind].set(held.stored.name, held);
  }

  /** Reads an entry and checks that it goes with all others. @throws {ApiError} */
  checked(stored: StoredEntry): HeldEntry {
    const { kind, name, body } = stored;
    const { usable } = readBody(kind, name, body);
    const held = { stored, usable, etag: etagOf(stored, this.#context.digest) };
    checkEntry(held, this.#checkContext(held));
    return held;
  }

  /** @throws {ApiError} when this relay can't have the address of a service's port */
  async checkPort(held: HeldEntry): Promise<void> {
    await checkPort(held, this.#checkContext(held));
  }

  #checkContext(held: HeldEntry): CheckContext {
    return {
      configuration: this.#context.configuration,
      index: this.#index,
      more: held.stored.kind === "clusters" ? () => this.#more() : () => this.#more(held),
    };
  }

  /** All services and policies; `changed` stands for the one of its name. */
  #more(changed?: HeldEntry): MoreServices {
    const listOf = (kind: "services" | "policies") => {
      const others = [...this.list(kind)].filter(({ stored }) =>
        stored.kind !== changed?.stored.kind || stored.name !== changed.stored.name
      );
      return changed?.stored.kind === kind ? [...others, changed] : others;
    };
    return {
      services: listOf("services").map(({ usable }) => usable as UsableEntries["services"]),
      policies: listOf("policies").map(({ usable }) => usable as UsableEntries["policies"]),
    };
  }

  /** Puts an entry in the place of another. */
  move(before: HeldEntry | undefined, after: HeldEntry | undefined): void {
    const { kind, name } = (after ?? before)!.stored;
    if (kind === "clusters") {
      if (before) this.#index.remove(indexed(before.usable as UsableEntries["clusters"]));
      if (after) this.#index.add(indexed(after.usable as UsableEntries["clusters"]));
    }
    if (after) this.#held[kind].set(name, after);
    else this.#held[kind].delete(name);
  }

  /** What the relay is to use: what waits to be accepted is left out. */
  inUse(): EntriesInUse {
    const clusters = [...this.list("clusters")].filter(({ stored }) => stored.isAccepted)
      .map(({ usable }) => usable as UsableEntries["clusters"]);
    return { clusters, ...this.#more() };
  }

  /** Makes the index anew after the files, or all entries, have changed. */
  refreshIndex(): void {
    const { configuration } = this.#context;
    if (this.#indexedVersion === configuration.version) return;
    this.#indexedVersion = configuration.version;
    this.#index = new ClusterIndex();
    for (const { usable } of this.list("clusters")) {
      this.#index.add(indexed(usable as UsableEntries["clusters"]));
    }
    // Behind the API's: what both have is the files'.
    for (const cluster of configuration.indexed()) this.#index.add(cluster);
  }
}
