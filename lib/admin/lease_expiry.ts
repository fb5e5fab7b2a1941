/** Deletes entries whose leases have ended. */
import type { EntryKind } from "../domain/admin.ts";
import { entryKinds } from "../domain/admin.ts";
import type { AdminAudit } from "./audit.ts";
import type { AdminEntries } from "./entries.ts";
import type { HeldEntry } from "./held_entries.ts";

/** What leases are looked at with. */
export interface LeasesContext {
  readonly entries: AdminEntries;
  readonly audit: AdminAudit;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}

/** A clock may jump, so no timer runs until one ends. */
const lookMs = 1_000;

/**
 * Looks at all leases once a second. While no relay ran, or nothing could be stored, nobody could renew
 * one: so each has its full time after that.
 */
export class Leases {
  readonly #context: LeasesContext;
  #openedMs = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Entries that are being deleted. */
  readonly #ending = new Set<string>();

  constructor(context: LeasesContext) {
    this.#context = context;
  }

  open(): void {
    this.#openedMs = this.#context.nowMs();
    this.#timer = setInterval(() => void this.look(), lookMs);
  }

  /** Deletes what has ended; the timer calls it. Never rejects. */
  async look(): Promise<void> {
    const ended = entryKinds.flatMap((kind) =>
      [...this.#context.entries.list(kind)].filter((held) => this.#hasEnded(held))
    );
    await Promise.all(ended.map(({ stored: { kind, name } }) => this.#end(kind, name)));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #hasEnded({ stored: { lease } }: HeldEntry): boolean {
    if (!lease) return false;
    const now = this.#context.nowMs();
    const renewableMs = Math.max(this.#openedMs, this.#context.entries.unstorableMs);
    return now >= lease.endsMs && now >= renewableMs + lease.seconds * 1_000;
  }

  async #end(kind: EntryKind, name: string): Promise<void> {
    const key = `${kind}/${name}`;
    if (this.#ending.has(key)) return;
    this.#ending.add(key);
    try {
      let owner = "";
      await this.#context.entries.change(kind, name, (before) => {
        if (!before || !this.#hasEnded(before)) throw stillThere;
        owner = before.stored.by;
        return undefined;
      });
      this.#context.audit.byItself("expire", { kind, name }, owner);
    } catch (error) {
      // What can't be stored has been logged, and is tried again.
      if (error === stillThere) return;
    } finally {
      this.#ending.delete(key);
    }
  }
}

const stillThere = new Error("Renewed, or gone already");
