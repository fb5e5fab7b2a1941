/** Texts in Secrets and ConfigMaps. */
import { base64Of, textOfBase64 } from "../base64.ts";
import type { KubeObject } from "../kube/objects.ts";

/** The value of a key of `data`. Every JavaScript object also has `constructor` and the like. */
export function dataValue(object: KubeObject | undefined, key: string): string | undefined {
  const data = (object?.["data"] ?? {}) as Readonly<Record<string, string>>;
  return Object.hasOwn(data, key) ? data[key] : undefined;
}

/** A key of a Secret as text. */
export function secretText(secret: KubeObject | undefined, key: string): string | undefined {
  const encoded = dataValue(secret, key);
  return encoded === undefined ? undefined : textOfBase64(encoded);
}

/** Texts as a Secret's `data` has them: with `stringData`, the API server would keep omitted keys. */
export function secretData(texts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, base64Of(text)]),
  );
}
