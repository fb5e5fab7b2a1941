/** Texts in Secrets and ConfigMaps. */
import { base64Of, textOfBase64 } from "../base64.ts";
import type { KubeObject } from "../kube/objects.ts";

/** The value of a key of `data`; keys such as `constructor` are not inherited. */
export function dataValue(object: KubeObject | undefined, key: string): string | undefined {
  const data = (object?.["data"] ?? {}) as Readonly<Record<string, string>>;
  return Object.hasOwn(data, key) ? data[key] : undefined;
}

/** A decoded key of a Secret. @throws {SyntaxError} for what is not base64 */
export function secretText(secret: KubeObject | undefined, key: string): string | undefined {
  const encoded = dataValue(secret, key);
  return encoded === undefined ? undefined : textOfBase64(encoded);
}

/** Encodes a Secret's `data`. With `stringData`, the API server would keep omitted keys. */
export function secretData(texts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, base64Of(text)]),
  );
}
