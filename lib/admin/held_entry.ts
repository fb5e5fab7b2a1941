/** One entry of the admin API that a relay knows. */
import type { UsableEntries } from "../config/entries/api_entries.ts";
import type { EntryKind, StoredEntry } from "../domain/admin.ts";

/** An entry as it is stored, and as the relay uses it. */
export interface HeldEntry {
  readonly stored: StoredEntry;
  readonly usable: UsableEntries[EntryKind];
  readonly etag: string;
}
