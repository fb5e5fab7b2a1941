/** Fulfils what is wanted of many names of one zone with few calls. */
import { messageOf } from "../../message_of.ts";
import { type ApiChange, CloudflareRefusal, maxBatch } from "./cloudflare_api.ts";
import type { Listing } from "./cloudflare_records.ts";
import { decide, type Wish } from "./cloudflare_wishes.ts";
import type { DnsOutcome } from "./rfc2136.ts";

/** A wish, and who waits for its outcome; only the first outcome counts. */
export interface OpenWish {
  readonly wish: Wish;
  readonly settle: (outcome: DnsOutcome) => void;
}

/** Calls about one zone. */
export interface ZoneCalls {
  /** The zone's name. */
  readonly zone: string;
  readonly nowMs: () => number;
  readonly records: () => Promise<Listing>;
  /** Makes changes in one transaction. */
  readonly batch: (changes: readonly ApiChange[]) => Promise<void>;
}

/** A wish that takes changes. */
interface Group extends OpenWish {
  readonly changes: readonly ApiChange[];
}

/** After this time, the zone is read again before it is changed. */
const freshMs = 5_000;
/** Further batches that are sent to find out which names spoil one. */
const maxSplits = 20;

/**
 * Fulfils wishes. The zone is read right before, and again for a name that was changed since: what is
 * wanted of one name is done one after the other.
 *
 * @throws when a call fails: nothing is known of those that are not settled then
 */
export async function fulfil(wishes: readonly OpenWish[], calls: ZoneCalls): Promise<void> {
  for (let left = wishes; left.length > 0;) {
    const readMs = calls.nowMs();
    const listing = await calls.records();
    const changed = new Set<string>();
    let count: number;
    do {
      count = left.length;
      const { groups, others } = nextBatch(left, listing, { zone: calls.zone, changed });
      if (groups.length > 0) await send(groups, calls, { left: maxSplits });
      left = others;
    } while (left.length < count && calls.nowMs() - readMs < freshMs);
  }
}

/**
 * Takes as many wishes as fit into a batch, and settles those that need no change.
 *
 * @param changed Names that are not any more as the listing has them; those of the batch are added.
 */
function nextBatch(
  wishes: readonly OpenWish[],
  listing: Listing,
  { zone, changed }: { readonly zone: string; readonly changed: Set<string> },
): { readonly groups: readonly Group[]; readonly others: readonly OpenWish[] } {
  const groups: Group[] = [];
  const others: OpenWish[] = [];
  let count = 0;
  for (const [index, open] of wishes.entries()) {
    const { name } = open.wish.record;
    if (changed.has(name)) {
      others.push(open);
      continue;
    }
    const decision = decide(open.wish, listing, zone);
    if ("outcome" in decision) {
      open.settle(decision.outcome);
      continue;
    }
    const { changes } = decision;
    const isFull = count > 0 && count + changes.length > maxBatch;
    if (isFull) return { groups, others: [...others, ...wishes.slice(index)] };
    groups.push({ ...open, changes });
    count += changes.length;
    changed.add(name);
  }
  return { groups, others };
}

/** Sends changes in one transaction. What spoils it for all is found by sending each half alone. */
async function send(
  groups: readonly Group[],
  calls: ZoneCalls,
  splits: { left: number },
): Promise<void> {
  try {
    await calls.batch(groups.flatMap(({ changes }) => changes));
    for (const { settle } of groups) settle({ kind: "done" });
  } catch (error) {
    if (!(error instanceof CloudflareRefusal)) throw error;
    const reason = messageOf(error);
    if (groups.length === 1) return groups[0]!.settle({ kind: "refused", reason });
    if (splits.left < 2) {
      const why = `Other names that were sent with it may be refused: ${reason}`;
      for (const { settle } of groups) settle({ kind: "unreachable", reason: why });
      return;
    }
    splits.left -= 2;
    const middle = Math.ceil(groups.length / 2);
    await send(groups.slice(0, middle), calls, splits);
    await send(groups.slice(middle), calls, splits);
  }
}
