/** Objects of the Kubernetes API, as far as this program looks into them. */

/** What every object says of itself. */
export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly finalizers?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
}

/** An object that takes another one with it when it is deleted. */
export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** Any object. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
  readonly [key: string]: unknown;
}

/** One of the conditions in an object's status (KEP-1623). */
export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number | undefined;
  readonly lastTransitionTime: string;
}

/** `NAMESPACE/NAME`, or the name alone of an object that belongs to the whole cluster. */
export function keyOf({ namespace, name }: Pick<ObjectMeta, "namespace" | "name">): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** The parts of a key. */
export function partsOf(key: string): { readonly namespace?: string; readonly name: string } {
  const slash = key.indexOf("/");
  return slash === -1
    ? { name: key }
    : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** Whether an object names another one as its owner. */
export function isOwnedBy({ metadata }: KubeObject, { metadata: { uid } }: KubeObject): boolean {
  return uid !== undefined &&
    (metadata.ownerReferences ?? []).some((owner) => owner.uid === uid);
}

/** Now, as fields of Kubernetes' type MicroTime have it: in microseconds. */
export function microTimeNow(): string {
  return new Date().toISOString().replace("Z", "000Z");
}

/** Whether a change is one of the status alone; both states are given where there are both. */
export function isStatusChange(
  after: KubeObject | undefined,
  before: KubeObject | undefined,
): boolean {
  if (!after || !before) return false;
  const [one, other] = [after.metadata, before.metadata];
  return one.uid === other.uid && one.generation === other.generation &&
    one.deletionTimestamp === other.deletionTimestamp &&
    JSON.stringify([one.labels, one.annotations]) ===
      JSON.stringify([other.labels, other.annotations]);
}
