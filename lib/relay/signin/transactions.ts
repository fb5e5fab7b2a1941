/**
 * Sign-ins under way in one browser: each has a cookie with a secret, so that what comes back is known
 * to come from the browser that began it. A browser has few of these cookies at a time; more tabs
 * share the newest, since a cookie that was dropped would fail its tab.
 */
import type { Field } from "../../http1/head.ts";
import { type CookieNames, readCookie, readCookies, setCookie } from "../relay_cookies.ts";

/** How long somebody may take to sign in, in milliseconds. */
export const transactionMs = 10 * 60_000;
/** Cookies of sign-ins under way in one browser, for each host. */
export const maxTransactions = 5;

/** A sign-in under way in a browser. */
export interface Transaction {
  /** Names the cookie. */
  readonly id: string;
  /** Known to the browser alone. */
  readonly secret: string;
  /** The `Set-Cookie` values that go with the answer. */
  readonly cookies: readonly string[];
}

/** Begins one. */
export function beginTransaction(
  names: CookieNames,
  fields: readonly Field[],
  nowMs: number,
): Transaction {
  const ids = transactionIds(names, fields);
  const stale = ids.slice(maxTransactions).map((id) => forget(names, id));
  const newest = ids.length >= maxTransactions ? ids[0] : undefined;
  const shared = newest && readCookie(fields, names.transaction + newest);
  const id = shared ? newest! : nowMs.toString(36).padStart(9, "0") + randomText(6);
  const secret = shared ?? randomText(32);
  // Set again, a shared cookie lives as long as the youngest sign-in that uses it.
  const cookie = setCookie(names, names.transaction + id, secret, transactionMs);
  return { id, secret, cookies: [cookie, ...stale] };
}

/** The secret of a transaction that this browser has begun. */
export function secretOf(
  names: CookieNames,
  fields: readonly Field[],
  id: string,
): string | undefined {
  return isId(id) ? readCookie(fields, names.transaction + id) : undefined;
}

/** The `Set-Cookie` value that ends a transaction. */
export function forget(names: CookieNames, id: string): string {
  return setCookie(names, names.transaction + id, "", 0);
}

/** The newest first: ids begin with their time. */
function transactionIds({ transaction }: CookieNames, fields: readonly Field[]): string[] {
  const ids = readCookies(fields).filter(({ name }) => name.startsWith(transaction))
    .map(({ name }) => name.slice(transaction.length)).filter(isId);
  return [...new Set(ids)].sort().reverse();
}

function isId(text: string): boolean {
  return /^[\w-]{10,32}$/.test(text);
}

/** A text of random bytes, in base64url. */
export function randomText(bytes: number): string {
  return toText(crypto.getRandomValues(new Uint8Array(bytes)));
}

/** What stands for a secret where it must not be told. */
export async function digestOf(secret: string): Promise<string> {
  return toText(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret)));
}

/** Another secret that only those can know who know this one. */
export async function derive(secret: string, purpose: string): Promise<string> {
  const encoder = new TextEncoder();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, [
    "sign",
  ]);
  return toText(await crypto.subtle.sign("HMAC", key, encoder.encode(purpose)));
}

function toText(bytes: ArrayBuffer | Uint8Array): string {
  return new Uint8Array(bytes).toBase64({ alphabet: "base64url", omitPadding: true });
}
