/** Texts as a Secret's `data` has them: with `stringData`, keys that are left out would stay. */
import { base64Of } from "../../base64.ts";

/** Each text in base64. */
export function secretData(texts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, base64Of(text)]),
  );
}
