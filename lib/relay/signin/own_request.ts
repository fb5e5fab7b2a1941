/** A request to one of the relay's own pages, and small answers. */
import { type Field, getField } from "../../http1/head.ts";
import { ownHeaders } from "../pages/page.tsx";
import type { Site } from "./site.ts";

/** What comes with a request to a page of the relay's own, as Hono's bindings. */
export interface OwnRequest {
  /** The fields as they came: cookies are read from their bytes. */
  readonly fields: readonly Field[];
  /** The client's address. */
  readonly address: string;
  readonly requestId?: string | undefined;
}

/** The same at a service's host. */
export interface SiteRequest extends OwnRequest {
  readonly site: Site;
}

/** Sends a browser elsewhere. The status is 303 behind a form, so that it asks with GET. */
export function redirect(
  status: 302 | 303,
  url: string,
  cookies: readonly string[] = [],
): Response {
  const headers = new Headers(ownHeaders);
  headers.set("Location", url);
  for (const cookie of cookies) headers.append("Set-Cookie", cookie);
  return new Response(null, { status, headers });
}

/** Answers with JSON. */
export function json(
  status: number,
  value: unknown,
  more: readonly (readonly [string, string])[] = [],
): Response {
  const headers = new Headers(ownHeaders);
  headers.set("Content-Type", "application/json");
  for (const [name, text] of more) headers.append(name, text);
  return new Response(JSON.stringify(value), { status, headers });
}

/** The same as {@link json} for an error, in the form that all errors of the relay have. */
export function jsonError(
  status: number,
  code: string,
  message: string,
  more: { readonly [name: string]: unknown } = {},
  headers: readonly (readonly [string, string])[] = [],
): Response {
  return json(status, { error: { code, message, ...more } }, headers);
}

/** The answer to a form that another page sent. */
export function foreignForm(): Response {
  return jsonError(403, "cross_site", "the form comes from another site's page");
}

/** Bytes of a form that is sent to the relay itself. */
const maxFormBytes = 16 * 1024;

/** The fields of a form; undefined for a body that is none, or is too long. */
export async function readForm(request: Request): Promise<URLSearchParams | undefined> {
  const type = request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/x-www-form-urlencoded") return undefined;
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  for await (const bytes of request.body ?? []) {
    length += bytes.length;
    if (length > maxFormBytes) return undefined;
    text += decoder.decode(bytes, { stream: true });
  }
  return new URLSearchParams(text + decoder.decode());
}

/** Whether a page is framed or fetched instead of opened in a window of its own. */
export function isOpened(fields: readonly Field[]): boolean {
  const dest = getField(fields, "sec-fetch-dest");
  return dest === undefined || dest === "document";
}
