/** Makes changes of many names of one zone with few calls. */
import { messageOf } from "../../message_of.ts";
import { type BatchOperation, CloudflareRefusal, maxOperations } from "./cloudflare_api.ts";
import type { Listing } from "./cloudflare_records.ts";
import { planChange, type RecordChange } from "./cloudflare_plan.ts";
import type { DnsOutcome } from "./rfc2136.ts";

/** A change, and who waits for its outcome; only the first outcome counts. */
export interface PendingChange {
  readonly change: RecordChange;
  readonly settle: (outcome: DnsOutcome) => void;
}

/** Calls about one zone. */
export interface ZoneCalls {
  /** The zone's name. */
  readonly zone: string;
  readonly nowMs: () => number;
  readonly records: () => Promise<Listing>;
  /** Makes operations in one transaction. */
  readonly batch: (operations: readonly BatchOperation[]) => Promise<void>;
}

/** A change that takes operations. */
interface PlannedChange extends PendingChange {
  readonly operations: readonly BatchOperation[];
}

/** After this time, the zone is read again before it is changed. */
const freshMs = 5_000;
/** Further batches that are sent to find out which names spoil one. */
const maxSplits = 20;

/**
 * Makes changes. The zone is read right before, and again for a name that was changed since: changes of
 * one name are made one after the other.
 *
 * @throws when a call fails: nothing is known of the changes that are not settled then
 */
export async function applyChanges(
  changes: readonly PendingChange[],
  calls: ZoneCalls,
): Promise<void> {
  for (let left = changes; left.length > 0;) {
    const readMs = calls.nowMs();
    const listing = await calls.records();
    const changed = new Set<string>();
    let count: number;
    do {
      count = left.length;
      const { planned, others } = nextBatch(left, listing, { zone: calls.zone, changed });
      if (planned.length > 0) await send(planned, calls, { left: maxSplits });
      left = others;
    } while (left.length < count && calls.nowMs() - readMs < freshMs);
  }
}

/**
 * Takes as many changes as fit into a batch, and settles those that need no operation.
 *
 * @param changed Names that are not any more as the listing has them; those of the batch are added.
 */
function nextBatch(
  changes: readonly PendingChange[],
  listing: Listing,
  { zone, changed }: { readonly zone: string; readonly changed: Set<string> },
): { readonly planned: readonly PlannedChange[]; readonly others: readonly PendingChange[] } {
  const planned: PlannedChange[] = [];
  const others: PendingChange[] = [];
  let count = 0;
  for (const [index, pending] of changes.entries()) {
    const { name } = pending.change.record;
    if (changed.has(name)) {
      others.push(pending);
      continue;
    }
    const plan = planChange(pending.change, listing, zone);
    if ("outcome" in plan) {
      pending.settle(plan.outcome);
      continue;
    }
    const { operations } = plan;
    const isFull = count > 0 && count + operations.length > maxOperations;
    if (isFull) return { planned, others: [...others, ...changes.slice(index)] };
    planned.push({ ...pending, operations });
    count += operations.length;
    changed.add(name);
  }
  return { planned, others };
}

/** Sends a batch. The API refuses all of it for one bad operation, which sending each half alone finds. */
async function send(
  changes: readonly PlannedChange[],
  calls: ZoneCalls,
  splits: { left: number },
): Promise<void> {
  try {
    await calls.batch(changes.flatMap(({ operations }) => operations));
    for (const { settle } of changes) settle({ kind: "done" });
  } catch (error) {
    if (!(error instanceof CloudflareRefusal)) throw error;
    const reason = messageOf(error);
    if (changes.length === 1) return changes[0]!.settle({ kind: "refused", reason });
    if (splits.left < 2) {
      const why = `Other names that were sent with it may be refused: ${reason}`;
      for (const { settle } of changes) settle({ kind: "unreachable", reason: why });
      return;
    }
    splits.left -= 2;
    const middle = Math.ceil(changes.length / 2);
    await send(changes.slice(0, middle), calls, splits);
    await send(changes.slice(middle), calls, splits);
  }
}
