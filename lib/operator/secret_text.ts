/** Texts in Secrets and ConfigMaps. */
import { base64Of, textOfBase64 } from "../base64.ts";
import { tokenFault } from "../domain/token.ts";
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

/** The longest token, in characters: it is a part of each request's head. */
const maxTokenCharacters = 4_096;

/** A token as RFC 6750 section 2.1 has it, and as relays take it too: with spaces in it. */
const tokenPatterns = { bare: /^[\x21-\x7e]+$/, spaced: /^[\x20-\x7e]+$/ } as const;

const tokenExpected = {
  bare: "must be one token of visible ASCII characters, without spaces and line breaks within",
  spaced: "must be one line of visible ASCII characters",
} as const;

/**
 * Why a text can't be sent as a bearer token; undefined if it can. Completes "the token …", and holds
 * nothing of it: what `fetch` says of a header that it can't send quotes it whole.
 */
export function bearerFault(text: string, form: "bare" | "spaced" = "bare"): string | undefined {
  if (text === "") return "is empty";
  const fault = tokenFault(text);
  if (fault !== undefined) return fault;
  if (text.length > maxTokenCharacters) return `has more than ${maxTokenCharacters} characters`;
  return tokenPatterns[form].test(text) ? undefined : tokenExpected[form];
}
