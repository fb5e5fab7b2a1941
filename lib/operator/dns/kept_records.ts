/** Records as a binding's status has them: what their deletion needs. */
import { keyOf, type KubeObject, type ObjectMeta } from "../../kube/objects.ts";
import type { BindingStatus } from "../api/tunnel_binding.ts";
import { isOwnedBy, type RecordData } from "./records.ts";

/** A record that may exist for a binding. */
export type KeptRecord = NonNullable<BindingStatus["dns"]>[number];

/**
 * The records that a binding's status lists and that can be its own. Whoever may write statuses in one
 * namespace must not have the operator take off another's records with that one's credentials: the owner
 * names the binding, and nothing is taken off that has another owner.
 */
export function ownRecords({ metadata, status }: KubeObject): KeptRecord[] {
  const { dns = [] } = (status ?? {}) as BindingStatus;
  return dns.filter(({ owner }) => isOwnedBy(owner, resourceOf(metadata)));
}

/** A binding in the text that names the owner of its records. */
export function resourceOf(metadata: ObjectMeta): string {
  return `tunnelbinding/${keyOf(metadata)}`;
}

/** Former targets that are remembered for a name. */
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
 * What may be there while records are changed: the new ones, which remember what their names may still
 * point at until the change is known to be made, and those of other names.
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
  // The oldest one is the one that is known to have been made.
  return { ...record, former: [former[0]!, ...former.slice(1).slice(1 - maxFormer)] };
}
