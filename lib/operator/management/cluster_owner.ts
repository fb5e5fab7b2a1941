/** Whose Cluster an object outside its namespace belongs to: a label to select by, and a key. */
import type { KubeObject } from "../../kube/objects.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import type { Digest } from "../digest.ts";

/** On objects that the operator made for a Cluster: `NAMESPACE.NAME`, or its digest. */
const ownerLabel = "culvert.dev/owner";
/** The same as a key: `NAMESPACE/NAME`, which a label can't hold. */
const ownerAnnotation = "culvert.dev/owner";
const maxLabelCharacters = 63;

/** Labels and annotations by which {@link ownerOf} knows an object. */
export interface OwnerMarks {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Marks an object as made for a Cluster. @param owner `NAMESPACE/NAME` */
export function ownerMarks(owner: string, digest: Digest): OwnerMarks {
  const text = owner.replace("/", ".");
  const label = text.length <= maxLabelCharacters
    ? text
    : digest(owner).slice(0, maxLabelCharacters);
  return {
    labels: { [managedByLabel]: manager, [ownerLabel]: label },
    annotations: { [ownerAnnotation]: owner },
  };
}

/** The Cluster for which the operator made an object; undefined for somebody else's. */
export function ownerOf({ metadata }: KubeObject): string | undefined {
  const isOurs = metadata.labels?.[ownerLabel] !== undefined &&
    metadata.labels[managedByLabel] === manager;
  return isOurs ? metadata.annotations?.[ownerAnnotation] : undefined;
}
