/** Session records in this process's memory: bounded in number and in size. */
import type { SessionRecord } from "./sessions.ts";

/** Sessions that are kept; the one without a request for longest makes room. */
export const maxSessions = 100_000;
/** Characters of all records as JSON. A record is mostly claims, and providers may write long ones. */
export const maxRecordUnits = 128 * 1024 * 1024;

/** Bounds of a {@link RecordMemory}. */
export interface RecordBounds {
  readonly records: number;
  readonly units: number;
}

interface Kept<Entry> {
  readonly entry: Entry;
  readonly units: number;
}

/** Entries by the ids of their records, in the order of their last use. */
export class RecordMemory<Entry extends { readonly record: SessionRecord }> {
  readonly #kept = new Map<string, Kept<Entry>>();
  readonly #bounds: RecordBounds;
  readonly #dropped: (entry: Entry) => void;
  #units = 0;

  /** @param dropped Called for each entry that makes room for another. */
  constructor(
    dropped: (entry: Entry) => void,
    bounds: RecordBounds = { records: maxSessions, units: maxRecordUnits },
  ) {
    this.#dropped = dropped;
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#kept.size;
  }

  get(id: string): Entry | undefined {
    return this.#kept.get(id)?.entry;
  }

  /** Keeps an entry as the one used last. */
  set(entry: Entry): void {
    const { id } = entry.record;
    this.delete(id);
    const units = JSON.stringify(entry.record).length;
    this.#kept.set(id, { entry, units });
    this.#units += units;
    while (this.#isFull && this.#kept.size > 1) {
      const [oldest, kept] = this.#kept.entries().next().value!;
      this.delete(oldest);
      this.#dropped(kept.entry);
    }
  }

  /** Makes an entry the one used last. */
  touch(id: string): void {
    const kept = this.#kept.get(id);
    if (!kept) return;
    this.#kept.delete(id);
    this.#kept.set(id, kept);
  }

  delete(id: string): boolean {
    const kept = this.#kept.get(id);
    if (!kept) return false;
    this.#units -= kept.units;
    return this.#kept.delete(id);
  }

  /** Ids, the one used longest ago first. */
  keys(): IterableIterator<string> {
    return this.#kept.keys();
  }

  get #isFull(): boolean {
    return this.#kept.size > this.#bounds.records || this.#units > this.#bounds.units;
  }
}
