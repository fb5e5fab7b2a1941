/** The entries of the admin API where several workers change them: the parent alone has their store. */
import type { EntryChange, EntryStore } from "../admin/entry_store.ts";
import { formatStored, parseStored } from "../config/entries/stored_entries.ts";
import type { EntryKind, StoredEntry } from "../domain/admin.ts";
import type { CommitReply, EntryTexts, TextChange } from "./messages.ts";

/** Keeps entries in a store, and makes changes only for those who know all changes before. */
export class EntryServer {
  readonly #store: EntryStore;
  readonly #entries = new Map<string, StoredEntry>();
  #revision = 0;
  /** The last commit that has begun. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(store: EntryStore) {
    this.#store = store;
  }

  /** Reads what is stored. @throws when it can't be read */
  static async open(store: EntryStore): Promise<EntryServer> {
    const server = new EntryServer(store);
    for (const entry of await store.load()) server.#entries.set(keyOf(entry), entry);
    return server;
  }

  /** All entries as they are now. */
  load(): EntryTexts {
    const entries = [...this.#entries.values()].map((entry) =>
      [entry.kind, formatStored(entry)] as const
    );
    return { revision: this.#revision, entries };
  }

  /**
   * Stores changes, one commit after the other.
   *
   * @param revision what the worker knows
   * @throws when nothing can be stored at all
   */
  commit(revision: number, changes: readonly TextChange[]): Promise<CommitReply> {
    const commit = this.#last.then(() => this.#commit(revision, changes));
    this.#last = commit.catch(() => {});
    return commit;
  }

  async #commit(revision: number, changes: readonly TextChange[]): Promise<CommitReply> {
    if (revision !== this.#revision) return { kind: "stale" };
    const parsed = changes.map(({ kind, name, text }): EntryChange => ({
      kind: kind as EntryKind,
      name,
      entry: text === undefined ? undefined : parseStored(kind as EntryKind, text),
    }));
    const result = await this.#store.commit(parsed);
    if (result.kind === "stale") return result;
    this.#revision++;
    for (const change of parsed) {
      if (result.failed.has(change)) continue;
      if (change.entry) this.#entries.set(keyOf(change), change.entry);
      else this.#entries.delete(keyOf(change));
    }
    const failed = [...result.failed].map(([change, { message }]) =>
      [parsed.indexOf(change), message] as const
    );
    return { kind: "done", revision: this.#revision, failed };
  }

  /** Finishes the commits that have begun, and closes the store. */
  async close(): Promise<void> {
    await this.#last;
    await this.#store.close();
  }
}

function keyOf({ kind, name }: { readonly kind: string; readonly name: string }): string {
  return `${kind}/${name}`;
}
