/** The entries of the admin API, as a worker has them: its parent stores them. */
import type { CommitResult, EntryChange, EntryStore } from "../admin/entry_store.ts";
import { formatStored, parseStored } from "../config/entries/stored_entries.ts";
import type { EntryKind, StoredEntry } from "../domain/admin.ts";
import type { Channel } from "./channel.ts";
import type { ParentCalls } from "./messages.ts";

/** How long storing a change may take, and its use by the other workers, in milliseconds. */
const commitTimeoutMs = 30_000;

/** Entries in the parent. */
export class WorkerEntries implements EntryStore {
  readonly name = "state";
  readonly #parent: Channel<ParentCalls>;
  #revision = -1;
  #changed: (() => Promise<void>) | undefined;
  /** Others have changed them before anybody wanted to know. */
  #hasMissed = false;

  constructor(parent: Channel<ParentCalls>) {
    this.#parent = parent;
  }

  async load(): Promise<readonly StoredEntry[]> {
    const { revision, entries } = await this.#parent.call("loadEntries", null);
    this.#revision = revision;
    return entries.map(([kind, text]) => parseStored(kind as EntryKind, text));
  }

  async commit(changes: readonly EntryChange[]): Promise<CommitResult> {
    const texts = changes.map(({ kind, name, entry }) => ({
      kind,
      name,
      ...entry && { text: formatStored(entry) },
    }));
    const commit = { revision: this.#revision, changes: texts };
    const reply = await this.#parent.call("commitEntries", commit, commitTimeoutMs);
    if (reply.kind === "stale") return reply;
    this.#revision = reply.revision;
    const failed = reply.failed.map(([index, reason]) =>
      [changes[index]!, new Error(reason)] as const
    );
    return { kind: "done", failed: new Map(failed) };
  }

  follow(changed: () => Promise<void>): void {
    this.#changed = changed;
    if (this.#hasMissed) void changed();
  }

  /** Another worker has changed them. @returns once they are in use here */
  async changedElsewhere(): Promise<void> {
    this.#hasMissed ||= this.#changed === undefined;
    await this.#changed?.();
  }

  close(): Promise<void> {
    this.#changed = undefined;
    return Promise.resolve();
  }
}
