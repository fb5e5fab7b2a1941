/** Texts in Secrets and ConfigMaps. */
import { base64Of } from "../base64.ts";
import type { KubeObject } from "../kube/objects.ts";

/** The value of a key of `data`. Every JavaScript object also has `constructor` and the like. */
export function dataValue(object: KubeObject | undefined, key: string): string | undefined {
  const data = (object?.["data"] ?? {}) as Readonly<Record<string, string>>;
  return Object.hasOwn(data, key) ? data[key] : undefined;
}

/** A key of a Secret as text. */
export function secretText(secret: KubeObject | undefined, key: string): string | undefined {
  const encoded = dataValue(secret, key);
  if (encoded === undefined) return undefined;
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}

/** Texts as a Secret's `data` has them: with `stringData`, the API server would keep omitted keys. */
export function secretData(texts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, base64Of(text)]),
  );
}
