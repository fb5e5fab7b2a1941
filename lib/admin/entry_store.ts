/** Where entries of the admin API are kept. */
import type { EntryKind, StoredEntry } from "../domain/admin.ts";

/** One change; without an entry it is a deletion. */
export interface EntryChange {
  readonly kind: EntryKind;
  readonly name: string;
  readonly entry: StoredEntry | undefined;
}

/** What became of changes: `stale` if somebody else has changed the store meanwhile, and none was made. */
export type CommitResult =
  | { readonly kind: "stale" }
  /** Those that could not be stored, and why; the others are stored for good. */
  | { readonly kind: "done"; readonly failed: ReadonlyMap<EntryChange, Error> };

/** Keeps entries. Each is stored whole or not at all. */
export interface EntryStore {
  /** Names it in messages. */
  readonly name: string;
  /**
   * Reads all entries, at the start and whenever a commit was `stale`.
   *
   * @throws when it can't be read
   */
  load(): Promise<readonly StoredEntry[]>;
  /** Stores changes. @throws when nothing can be stored at all */
  commit(changes: readonly EntryChange[]): Promise<CommitResult>;
  /**
   * Calls `changed` when others have changed the store; until {@link close}. What it returns resolves
   * once the change is in use, and never rejects.
   */
  follow(changed: () => Promise<void>): void;
  close(): Promise<void>;
}
