/** The store of a relay that keeps no entries: it shows the files' entries, and accepts no changes. */
import type { StoredEntry } from "../domain/admin.ts";
import { ApiError } from "./api_error.ts";
import type { CommitResult, EntryStore } from "./entry_store.ts";

/** Refuses all changes. */
export class NoStore implements EntryStore {
  readonly name = "none";

  load(): Promise<readonly StoredEntry[]> {
    return Promise.resolve([]);
  }

  commit(): Promise<CommitResult> {
    const message = "the relay has nowhere to keep entries: start it with --state or --directory";
    return Promise.reject(new ApiError(503, "no_store", message));
  }

  follow(): void {}

  close(): Promise<void> {
    return Promise.resolve();
  }
}
