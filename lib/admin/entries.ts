/**
 * The entries of the admin API: one change after the other is checked against all of them and the
 * files' entries, stored, and only then used and acknowledged.
 */
import { readBody } from "../config/entries/api_entries.ts";
import type { EntryKind, StoredEntry } from "../domain/admin.ts";
import { isolated } from "../faults.ts";
import type { Log } from "../log.ts";
import { messageOf } from "../message_of.ts";
import { ApiError, storeUnavailable } from "./api_error.ts";
import type { Configuration } from "./configuration.ts";
import { type DigestText, etagOf } from "./etag.ts";
import type { EntryChange, EntryStore } from "./entry_store.ts";
import { type EntriesView, HeldEntries } from "./held_entries.ts";
import type { HeldEntry } from "./held_entry.ts";

/** What an entry is to be, from what it is; undefined to delete it. @throws {ApiError} if it may not be */
export type Plan = (before: HeldEntry | undefined, view: EntriesView) => StoredEntry | undefined;

/** What became of a change. */
export interface Changed {
  readonly before: HeldEntry | undefined;
  readonly after: HeldEntry | undefined;
}

/** Told of each change that is in use. */
export type ChangeListener = (kind: EntryKind, name: string, changed: Changed) => void;

/** What the entries are lent. */
export interface EntriesContext {
  readonly configuration: Configuration;
  readonly store: EntryStore;
  readonly log: Log;
  readonly digest: DigestText;
}

/** A change that waits for its turn. */
interface Waiting {
  readonly kind: EntryKind;
  readonly name: string;
  readonly plan: Plan;
  readonly resolve: (changed: Changed) => void;
  readonly reject: (error: unknown) => void;
}

/** A change that was checked. */
interface Planned extends Changed {
  readonly waiting: Waiting;
  readonly change: EntryChange;
}

/** Changes that wait; more are refused, as whoever sends them does not wait for answers. */
const maxWaiting = 1_024;
/** Changes that are stored together: what is written in one go costs little more than one. */
const maxBatch = 128;
/** Times that a change is tried again because others have changed the store. */
const maxTries = 20;

/** All entries of the API. */
export class AdminEntries implements EntriesView {
  readonly #context: EntriesContext;
  readonly #held: HeldEntries;
  readonly #queue: Waiting[] = [];
  #running: Promise<void> | undefined;
  #mustReload = false;
  #isClosed = false;
  onChanged: ChangeListener = () => {};
  /** When a change could not be stored last, in milliseconds since 1970: no lease could be renewed then. */
  unstorableMs = 0;

  constructor(context: EntriesContext) {
    this.#context = context;
    this.#held = new HeldEntries(context);
  }

  /** Reads what is stored and uses it. @throws when it can't be read */
  async open(): Promise<void> {
    await this.#reload();
    this.#context.store.follow(() => {
      this.#mustReload = true;
      return this.#run();
    });
  }

  get(kind: EntryKind, name: string): HeldEntry | undefined {
    return this.#held.get(kind, name);
  }

  list(kind: EntryKind): Iterable<HeldEntry> {
    return this.#held.list(kind);
  }

  /**
   * Changes an entry, behind the changes that wait already.
   *
   * @returns once it is stored and in use
   * @throws {ApiError} when it may not be, or can't be stored; nothing has changed then
   */
  change(kind: EntryKind, name: string, plan: Plan): Promise<Changed> {
    const { promise, resolve, reject } = Promise.withResolvers<Changed>();
    if (this.#isClosed) throw storeUnavailable("the relay is shutting down");
    if (this.#queue.length >= maxWaiting) {
      const retry = { "Retry-After": "1" };
      throw new ApiError(
        429,
        "too_many_changes",
        "too many changes wait for their turn",
        {},
        retry,
      );
    }
    this.#queue.push({ kind, name, plan, resolve, reject });
    void this.#run();
    return promise;
  }

  /** Finishes the changes that were begun. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#running) await this.#running;
    await this.#context.store.close();
  }

  /** @returns once what waits now is done */
  #run(): Promise<void> {
    return this.#running ??= this.#work().finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0 || this.#mustReload) void this.#run();
    });
  }

  async #work(): Promise<void> {
    // What comes in the same turn goes together.
    await Promise.resolve();
    while (this.#queue.length > 0 || this.#mustReload) {
      if (this.#mustReload) await this.#reloadAsTold();
      const batch = this.#takeBatch();
      if (batch.length > 0) await this.#process(batch);
    }
  }

  async #reloadAsTold(): Promise<void> {
    this.#mustReload = false;
    try {
      await this.#reload();
    } catch (error) {
      this.#context.log.error("Could not read the admin API's entries; those in use stay", {
        store: this.#context.store.name,
        error: messageOf(error),
      });
    }
  }

  /** Changes of different clusters go together; what others may depend on goes alone. */
  #takeBatch(): Waiting[] {
    const names = new Set<string>();
    let count = 0;
    for (const { kind, name } of this.#queue) {
      if (kind !== "clusters" || names.has(name) || count === maxBatch) break;
      names.add(name);
      count++;
    }
    return this.#queue.splice(0, Math.max(1, count));
  }

  async #process(batch: readonly Waiting[]): Promise<void> {
    for (let tries = 0; tries < maxTries; tries++) {
      const planned = await this.#withPorts(this.#planAll(batch));
      if (planned.length === 0) return;
      try {
        const { store } = this.#context;
        const result = await store.commit(planned.map(({ change }) => change));
        if (result.kind === "done") return await this.#finish(planned, result.failed);
        this.#takeBack(planned);
        batch = planned.map(({ waiting }) => waiting);
        await this.#reload();
      } catch (error) {
        this.#takeBack(planned);
        for (const { waiting } of planned) waiting.reject(this.#notStored(error));
        return;
      }
    }
    const error = storeUnavailable("others change the entries all the time; try again");
    for (const { reject } of batch) reject(error);
  }

  /** Checks changes one after the other; each sees those before it. Refused ones are told. */
  #planAll(batch: readonly Waiting[]): Planned[] {
    this.#held.refreshIndex();
    return batch.flatMap((waiting) => {
      try {
        const planned = this.#plan(waiting);
        if (!planned.change) {
          waiting.resolve(planned);
          return [];
        }
        this.#held.move(planned.before, planned.after);
        return [{ ...planned, change: planned.change, waiting }];
      } catch (error) {
        waiting.reject(error);
        return [];
      }
    });
  }

  /** Leaves out a service whose port can't be had, which is told. Services come one at a time. */
  async #withPorts(planned: Planned[]): Promise<Planned[]> {
    try {
      for (const { before, after } of planned) {
        if (after && after !== before) await this.#held.checkPort(after);
      }
      return planned;
    } catch (error) {
      this.#takeBack(planned);
      for (const { waiting } of planned) waiting.reject(error);
      return [];
    }
  }

  #plan({ kind, name, plan }: Waiting): Changed & { change?: EntryChange } {
    const before = this.get(kind, name);
    const stored = plan(before, this);
    if (!stored) return { before, after: undefined, change: { kind, name, entry: undefined } };
    const after = this.#held.checked(stored);
    const isSame = before?.etag === after.etag && before.stored.by === stored.by;
    // A lease has to be written anew.
    if (isSame && !stored.lease) return { before, after: before };
    return { before, after, change: { kind, name, entry: stored } };
  }

  #takeBack(planned: readonly Planned[]): void {
    for (const { before, after } of planned.toReversed()) this.#held.move(after, before);
  }

  async #finish(
    planned: readonly Planned[],
    failed: ReadonlyMap<EntryChange, Error>,
  ): Promise<void> {
    const unstored = planned.filter(({ change }) => failed.has(change));
    this.#takeBack(unstored);
    for (const { waiting, change } of unstored) {
      waiting.reject(this.#notStored(failed.get(change)));
    }
    const stored = planned.filter(({ change }) => !failed.has(change));
    if (stored.length === 0) return;
    try {
      await this.#use();
    } catch (error) {
      await this.#undo(stored);
      for (const { waiting } of stored) waiting.reject(this.#notUsable(error));
      return;
    }
    for (const { waiting, before, after } of stored) {
      this.#tell(waiting.kind, waiting.name, { before, after });
      waiting.resolve({ before, after });
    }
  }

  /** Stores what was there before changes that can't be used. */
  async #undo(planned: readonly Planned[]): Promise<void> {
    this.#takeBack(planned);
    const reverse = planned.toReversed().map(({ before, change: { kind, name } }) => ({
      ...{ kind, name, entry: before?.stored },
    }));
    try {
      const { kind } = await this.#context.store.commit(reverse);
      if (kind === "done") return;
    } catch (error) {
      this.#notStored(error);
    }
    // What is stored then counts.
    this.#mustReload = true;
  }

  #notUsable(error: unknown): ApiError {
    const message = messageOf(error);
    this.#context.log.error("Could not apply a change of the admin API; rolled it back", {
      error: message,
    });
    return new ApiError(422, "unusable", `the relay can't use the entry: ${message}`);
  }

  #notStored(error: unknown): unknown {
    if (error instanceof ApiError) return error;
    const { log, store } = this.#context;
    this.unstorableMs = Date.now();
    log.error("Could not store a change of the admin API; entries in use stay", {
      store: store.name,
      error: messageOf(error),
    });
    return storeUnavailable("the change can't be stored at the moment; nothing has changed");
  }

  #tell(kind: EntryKind, name: string, changed: Changed): void {
    isolated("process", () => this.onChanged(kind, name, changed));
  }

  async #use(): Promise<void> {
    await this.#context.configuration.use(this.#held.inUse());
  }

  /** Takes what is stored now. Entries that can't be read are left out, and stay stored. */
  async #reload(): Promise<void> {
    const { store } = this.#context;
    const before = this.#held.all();
    const stored = await store.load();
    const known = new Map(before.map((held) => [keyOf(held.stored), held]));
    const read = stored.map((entry) => this.#readStored(entry, known.get(keyOf(entry))));
    this.#held.replaceAll(read.filter((held) => held !== undefined));
    await this.#use();
    for (const held of this.#held.all()) {
      const old = known.get(keyOf(held.stored));
      known.delete(keyOf(held.stored));
      const { kind, name } = held.stored;
      if (old?.etag !== held.etag) this.#tell(kind, name, { before: old, after: held });
    }
    for (const gone of known.values()) {
      this.#tell(gone.stored.kind, gone.stored.name, { before: gone, after: undefined });
    }
  }

  #readStored(stored: StoredEntry, known: HeldEntry | undefined): HeldEntry | undefined {
    const etag = etagOf(stored, this.#context.digest);
    // What is the same keeps what was made of it.
    if (known?.etag === etag) return { ...known, stored };
    const { kind, name, body } = stored;
    try {
      return { stored, usable: readBody(kind, name, body).usable, etag };
    } catch (error) {
      this.#context.log.error("Ignored a stored entry that is not valid", {
        ...{ store: this.#context.store.name, kind, name, reason: messageOf(error) },
      });
      return undefined;
    }
  }
}

function keyOf({ kind, name }: StoredEntry): string {
  return `${kind}/${name}`;
}
