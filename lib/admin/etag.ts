/** ETags of entries: the same content has the same one at every relay. */
import type { StoredEntry } from "../domain/admin.ts";

/** SHA-256 of a text. */
export type DigestText = (text: string) => Uint8Array;

/** Bytes of the digest that are enough to tell versions of one entry apart. */
const tagBytes = 16;

/** An entry's ETag. A renewed lease is no other version. */
export function etagOf(
  { kind, name, body, owner, isAccepted, lease }: StoredEntry,
  digest: DigestText,
): string {
  const content = [kind, name, body, owner ?? null, isAccepted, lease?.seconds ?? null];
  return `"${digest(JSON.stringify(sorted(content))).subarray(0, tagBytes).toHex()}"`;
}

/** The same value with the keys of all objects in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}
