/** The records in a binding's status, with all that is needed to delete them. */
import { keyOf, type KubeObject, type ObjectMeta } from "../../kube/objects.ts";
import type { BindingStatus } from "../api/tunnel_binding.ts";
import { isOwnedBy, type RecordData } from "./records.ts";

/** A record that may exist for a binding. */
export type KeptRecord = NonNullable<BindingStatus["dns"]>[number];

/**
 * The records in a binding's status that can be the binding's own. Users who may write a status in one
 * namespace must not make the operator delete another namespace's records. A record's owner therefore
 * names its binding, and only records with that owner are deleted.
 */
export function ownRecords({ metadata, status }: KubeObject): KeptRecord[] {
  const { dns = [] } = (status ?? {}) as BindingStatus;
  return dns.filter(({ owner }) => isOwnedBy(owner, resourceOf(metadata)));
}

/** How the owner of a record names a binding. */
export function resourceOf(metadata: ObjectMeta): string {
  return `tunnelbinding/${keyOf(metadata)}`;
}

/** The maximum number of former targets that are remembered for a name. */
const maxFormer = 4;

/** Identifies a record: server, zone and name, followed by its owner. */
export function recordKey(
  { name, zone, server, owner = "" }: Pick<KeptRecord, "name" | "zone" | "server"> & {
    readonly owner?: string;
  },
): string {
  return `${JSON.stringify([server, zone, name])} ${owner}`;
}

/**
 * The records that may exist while records are changed: the new ones and all earlier ones of other names.
 * A new record lists what its name may still point at until the change is known to be made.
 */
export function withIntended(
  before: readonly KeptRecord[],
  intended: readonly KeptRecord[],
): readonly KeptRecord[] {
  const known = new Map(before.map((record) => [recordKey(record), record]));
  const keys = new Set(intended.map(recordKey));
  return [
    ...intended.map((record) => remembering(record, known.get(recordKey(record)))),
    ...before.filter((record) => !keys.has(recordKey(record))),
  ];
}

function remembering(record: KeptRecord, before: KeptRecord | undefined): KeptRecord {
  if (!before) return record;
  const older: readonly RecordData[] = [...before.former ?? [], before];
  const former = older.filter(({ type, target }) =>
    type !== record.type || target !== record.target
  ).map(({ type, target }): RecordData => ({ type, target }));
  if (former.length === 0) return record;
  // The oldest target is the one that is known to have been made, so it is always kept.
  return { ...record, former: [former[0]!, ...former.slice(1).slice(1 - maxFormer)] };
}
