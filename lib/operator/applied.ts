/** Whether an object in the cluster is as it was applied. */
import type { KubeObject } from "../kube/objects.ts";
import type { Digest } from "./digest.ts";

/** On applied objects: a digest of what was applied, so that a field that it no longer has is noticed. */
const appliedAnnotation = "culvert.dev/applied";

/** An object with a digest of itself. */
export function stamped(object: KubeObject, digest: Digest): KubeObject {
  const { metadata } = object;
  const annotations = {
    ...metadata.annotations,
    [appliedAnnotation]: digest(JSON.stringify(object)).slice(0, 16),
  };
  return { ...object, metadata: { ...metadata, annotations } };
}

/** Whether two values are equal; absent and undefined fields are. */
export function isEqual(one: unknown, other: unknown): boolean {
  return includes(one, other) && includes(other, one);
}

/** Whether an object has all fields of another one, with the same values. */
export function includes(whole: unknown, part: unknown): boolean {
  if (Array.isArray(part)) {
    // The API server leaves empty lists out.
    const list = whole ?? [];
    return Array.isArray(list) && list.length === part.length &&
      part.every((entry, index) => includes(list[index], entry));
  }
  if (typeof part !== "object" || part === null) return whole === part;
  if (typeof whole !== "object" || whole === null) return false;
  return Object.entries(part).every(([key, value]) =>
    value === undefined || includes((whole as Record<string, unknown>)[key], value)
  );
}
