/** Changes many names of one zone with few calls. */
import { messageOf } from "../../message_of.ts";
import { type BatchOperation, CloudflareRefusal, maxOperations } from "./cloudflare_api.ts";
import type { Listing } from "./cloudflare_records.ts";
import { planChange, type RecordChange } from "./cloudflare_plan.ts";
import type { DnsOutcome } from "./rfc2136.ts";

/** A change that waits for its outcome. Only the first call of `settle` counts. */
export interface PendingChange {
  readonly change: RecordChange;
  readonly settle: (outcome: DnsOutcome) => void;
}

/** The calls that read and change one zone. */
export interface ZoneCalls {
  /** The zone's name. */
  readonly zone: string;
  readonly nowMs: () => number;
  readonly records: () => Promise<Listing>;
  /** Applies operations in one transaction. */
  readonly batch: (operations: readonly BatchOperation[]) => Promise<void>;
}

/** A change, with the operations that make it. */
interface PlannedChange extends PendingChange {
  readonly operations: readonly BatchOperation[];
}

/** After this time in milliseconds, the zone is read again before it is changed. */
const freshMs = 5_000;
/** The maximum number of smaller batches that are sent to find the operation that the API refuses. */
const maxSplits = 20;

/**
 * Makes changes. The zone is read right before. Changes of the same name are made one after the other,
 * and the zone is read again in between.
 *
 * @throws if a call fails. Changes that have no outcome then may have been made or not.
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
 * @param changed The names that have changed since the listing was read. Those of the batch are added.
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

/** Sends a batch. The API refuses all of it for one bad operation, so each half is then sent alone. */
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
