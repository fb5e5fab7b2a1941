/** Tokens of forms: a page of another site can send a form, but not know what this browser's pages hold. */
import { isEqualInConstantTime } from "../../constant_time.ts";

const encoder = new TextEncoder();

/** The token of all forms that this browser gets. */
export async function formToken(browserSecret: string): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const secret = encoder.encode(browserSecret);
  const key = await crypto.subtle.importKey("raw", secret, algorithm, false, ["sign"]);
  const mac = await crypto.subtle.sign("HMAC", key, encoder.encode("culvert status form"));
  return new Uint8Array(mac).toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Whether a form bears the token of the browser that sent it. */
export async function isFormToken(given: string | null, browserSecret: string): Promise<boolean> {
  return given !== null &&
    isEqualInConstantTime(given, await formToken(browserSecret));
}
