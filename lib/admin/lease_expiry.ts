/** Deletes entries whose leases have ended. */
import type { EntryKind, EntryLease, StoredEntry } from "../domain/admin.ts";
import { entryKinds } from "../domain/admin.ts";
import type { AdminAudit } from "./audit.ts";
import type { AdminEntries } from "./entries.ts";
import { usesPolicy } from "./operations.ts";

/** What leases are looked at with. */
export interface LeasesContext {
  readonly entries: Pick<AdminEntries, "list" | "change" | "unstorableMs">;
  readonly audit: Pick<AdminAudit, "byItself">;
  /** Ids of the clusters that have agents, at any relay; undefined while one of them does not tell. */
  readonly connected: () => Promise<ReadonlySet<string> | undefined>;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}

/** A clock may jump, so no timer runs until one ends. */
const lookMs = 1_000;
/** How often relays are asked which clusters have agents, while leases have ended. */
const askMs = 60_000;

type Leased = StoredEntry & { readonly lease: EntryLease };

/**
 * Looks at all leases once a second. While no relay ran, or nothing could be stored, nobody could renew
 * one: so each has its full time after that. The leases of a cluster and its services also have their
 * full time after an agent was connected: agents and their callers are not cut off because whoever
 * renews leases is away.
 */
export class Leases {
  readonly #context: LeasesContext;
  #openedMs = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** When each cluster whose lease has ended was last seen with an agent. */
  #seenMs: ReadonlyMap<string, number> = new Map();
  #askedMs = -Infinity;
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
    const overdue = entryKinds.flatMap((kind) =>
      [...this.#context.entries.list(kind)].map(({ stored }) => stored)
    ).filter((stored) => this.#isOverdue(stored));
    if (overdue.length === 0 || !await this.#see(overdue)) return;
    const ended = overdue.filter((stored) => this.#hasEnded(stored));
    await Promise.all(ended.map(({ kind, name }) => this.#end(kind, name)));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Whether nobody has renewed the lease in time. */
  #isOverdue(stored: StoredEntry): stored is Leased {
    const { lease } = stored;
    if (!lease) return false;
    const now = this.#context.nowMs();
    const renewableMs = Math.max(this.#openedMs, this.#context.entries.unstorableMs);
    return now >= lease.endsMs && now >= renewableMs + lease.seconds * 1_000;
  }

  /** Whether an entry with an overdue lease is to go: a policy when nothing uses it. */
  #hasEnded(stored: Leased): boolean {
    if (stored.kind === "policies") return !this.#isPolicyInUse(stored.name);
    const seenMs = this.#seenMs.get(clusterOf(stored)!) ?? -Infinity;
    return this.#context.nowMs() >= seenMs + stored.lease.seconds * 1_000;
  }

  /** Finds out which clusters have agents. @returns false if that can't be known now */
  async #see(overdue: readonly Leased[]): Promise<boolean> {
    const clusters = new Set(overdue.map(clusterOf));
    clusters.delete(undefined);
    if (clusters.size === 0) return true;
    const now = this.#context.nowMs();
    const shortestMs = Math.min(...overdue.map(({ lease }) => lease.seconds * 1_000));
    const isDue = now - this.#askedMs >= Math.min(askMs, shortestMs / 2);
    // What was true a while ago must not delete anything.
    if (!isDue && !overdue.some((stored) => this.#hasEnded(stored))) return true;
    const connected = await this.#context.connected();
    if (!connected) return false;
    this.#askedMs = now;
    const before = this.#seenMs;
    this.#seenMs = new Map([...clusters].flatMap((cluster) => {
      const seenMs = connected.has(cluster!) ? now : before.get(cluster!);
      return seenMs === undefined ? [] : [[cluster!, seenMs] as const];
    }));
    return true;
  }

  #isPolicyInUse(policy: string): boolean {
    return (["services", "clusters"] as const).some((kind) =>
      [...this.#context.entries.list(kind)].some(({ stored }) => usesPolicy(stored.body, policy))
    );
  }

  async #end(kind: EntryKind, name: string): Promise<void> {
    const key = `${kind}/${name}`;
    if (this.#ending.has(key)) return;
    this.#ending.add(key);
    try {
      let owner = "";
      await this.#context.entries.change(kind, name, (before) => {
        if (!before || !this.#isOverdue(before.stored)) throw stillThere;
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

/** The cluster that an entry is, or is of. */
function clusterOf({ kind, name, body }: StoredEntry): string | undefined {
  return kind === "clusters" ? name : kind === "services" ? String(body["cluster"]) : undefined;
}

const stillThere = new Error("Renewed, or gone already");
