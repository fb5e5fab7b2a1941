/** What is to become of a name in a zone at Cloudflare, and which changes that takes. */
import type { ApiChange } from "./cloudflare_api.ts";
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

/** What an owner wants of a name. */
export type Wish =
  /** The record is to be there, if the name is free or has this owner. */
  | { readonly kind: "put"; readonly record: CloudflareRecord; readonly owner: string }
  /** The record is to go if it is this owner's, and only the claim if it points elsewhere now. */
  | { readonly kind: "remove"; readonly record: OldRecord; readonly owner: string };

/** The changes that fulfil a wish, or its outcome if there is nothing to change. */
export type Decision =
  | { readonly changes: readonly ApiChange[] }
  | { readonly outcome: DnsOutcome };

const done: Decision = { outcome: { kind: "done" } };

/** Decides by what a zone has. */
export function decide(wish: Wish, listing: Listing, zone: string): Decision {
  const changes = wish.kind === "put" ? toPut(wish, listing, zone) : toRemove(wish, listing);
  if (!Array.isArray(changes)) return { outcome: changes as DnsOutcome };
  return changes.length === 0 ? done : { changes };
}

function toPut(
  { record, owner }: Wish & { kind: "put" },
  listing: Listing,
  zone: string,
): readonly ApiChange[] | DnsOutcome {
  const there = addressesIn(listing, record.name);
  const claim = ownerIn(listing, record.name);
  const isOthers = claim === undefined ? there.length > 0 : !isText(claim, owner);
  if (isOthers) return { kind: "taken" };
  if (isDelegated(listing, record.name, zone)) {
    return { kind: "refused", reason: `The zone ${zone} delegates it to other name servers` };
  }
  const claimed = { type: "TXT", name: ownerName(record.name), content: quoted(owner) };
  const [first, ...others] = there;
  const wanted = wantedOf(record);
  return [
    ...claim ? [] : [{ kind: "posts" as const, record: { ...claimed, ttl: automaticTtl } }],
    ...others.map(({ id }) => ({ kind: "deletes" as const, record: { id } })),
    ...first === undefined
      ? [{ kind: "posts" as const, record: wanted }]
      : isSame(first, wanted)
      ? []
      : [{ kind: "puts" as const, record: { ...wanted, id: first.id } }],
  ];
}

function toRemove(
  { record, owner }: Wish & { kind: "remove" },
  listing: Listing,
): readonly ApiChange[] {
  const claim = ownerIn(listing, record.name);
  if (claim === undefined || !isText(claim, owner)) return [];
  const candidates = [record, ...record.former ?? []];
  const ours = addressesIn(listing, record.name).filter(({ type, content }) =>
    candidates.some((it) => it.type === type && isSameTarget(it.target, content))
  );
  return [...ours, claim].map(({ id }) => ({ kind: "deletes", record: { id } }));
}
