/** Works out which operations of Cloudflare's API make a change. */
import type { BatchOperation } from "./cloudflare_api.ts";
import {
  addressesIn,
  automaticTtl,
  type CloudflareRecord,
  isDelegated,
  isSame,
  isSameTarget,
  isText,
  type Listing,
  ownerIn,
  quoted,
  wantedOf,
} from "./cloudflare_records.ts";
import { type OldRecord, ownerName } from "./records.ts";
import type { DnsOutcome } from "./rfc2136.ts";

/** A change that an owner asks for. */
export type RecordChange =
  /** Create or change the record, if its name is free or already has this owner. */
  | { readonly kind: "put"; readonly record: CloudflareRecord; readonly owner: string }
  /** Delete the record if it has this owner, or only the TXT record if it points elsewhere now. */
  | { readonly kind: "remove"; readonly record: OldRecord; readonly owner: string };

/** The operations that make a change, or the change's outcome if it needs none. */
export type Plan =
  | { readonly operations: readonly BatchOperation[] }
  | { readonly outcome: DnsOutcome };

const done: Plan = { outcome: { kind: "done" } };

/** Plans a change, given the records that the zone has. */
export function planChange(change: RecordChange, listing: Listing, zone: string): Plan {
  if (change.kind === "remove") return planOf(operationsToRemove(change, listing));
  const obstacle = obstacleTo(change, listing, zone);
  return obstacle ? { outcome: obstacle } : planOf(operationsToPut(change, listing));
}

function planOf(operations: readonly BatchOperation[]): Plan {
  return operations.length === 0 ? done : { operations };
}

type Put = RecordChange & { readonly kind: "put" };
type Remove = RecordChange & { readonly kind: "remove" };

/** Returns why a record can't be created or changed; undefined if it can. */
function obstacleTo(
  { record, owner }: Put,
  listing: Listing,
  zone: string,
): DnsOutcome | undefined {
  const claim = ownerIn(listing, record.name);
  const isOthers = claim === undefined
    ? addressesIn(listing, record.name).length > 0
    : !isText(claim, owner);
  if (isOthers) return { kind: "taken" };
  return isDelegated(listing, record.name, zone)
    ? { kind: "refused", reason: `The zone ${zone} delegates it to other name servers` }
    : undefined;
}

function operationsToPut({ record, owner }: Put, listing: Listing): readonly BatchOperation[] {
  const [first, ...others] = addressesIn(listing, record.name);
  const claim = { type: "TXT", name: ownerName(record.name), content: quoted(owner) };
  const wanted = wantedOf(record);
  return [
    ...ownerIn(listing, record.name)
      ? []
      : [{ kind: "posts" as const, record: { ...claim, ttl: automaticTtl } }],
    ...others.map(({ id }) => ({ kind: "deletes" as const, record: { id } })),
    ...first === undefined
      ? [{ kind: "posts" as const, record: wanted }]
      : isSame(first, wanted)
      ? []
      : [{ kind: "puts" as const, record: { ...wanted, id: first.id } }],
  ];
}

function operationsToRemove(
  { record, owner }: Remove,
  listing: Listing,
): readonly BatchOperation[] {
  const claim = ownerIn(listing, record.name);
  if (claim === undefined || !isText(claim, owner)) return [];
  const candidates = [record, ...record.former ?? []];
  const ours = addressesIn(listing, record.name).filter(({ type, content }) =>
    candidates.some((it) => it.type === type && isSameTarget(it.target, content))
  );
  return [...ours, claim].map(({ id }) => ({ kind: "deletes", record: { id } }));
}
