/** Texts in Secrets. */
import type { KubeObject } from "../kube/objects.ts";

/** A key of a Secret as text. */
export function secretText(secret: KubeObject | undefined, key: string): string | undefined {
  const data = (secret?.["data"] ?? {}) as Readonly<Record<string, string>>;
  const encoded = data[key];
  if (encoded === undefined) return undefined;
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}
