/**
 * What kind of request a browser sends, by Fetch Metadata: only a page that somebody opens can be
 * sent to sign in. A `fetch` that is redirected to a provider fails without a status that its page
 * could read.
 */
import { getField, listHas, type RequestHead } from "../../http1/head.ts";

/** How a request without an identity is to be answered. */
export type RequestKind =
  /** A page in a window of its own. */
  | "page"
  /** A page in a frame, where providers refuse to be shown. */
  | "frame"
  /** A form that is sent: its body would be lost on the way to the provider. */
  | "form"
  /** All others: scripts, images, programs. */
  | "other";

/** @see RequestKind */
export function requestKind({ method, fields }: RequestHead): RequestKind {
  if (getField(fields, "upgrade") !== undefined) return "other";
  // Nobody has asked for it yet; a sign-in that it began would take the place of another.
  if (getField(fields, "sec-purpose")?.startsWith("prefetch")) return "other";
  const mode = getField(fields, "sec-fetch-mode");
  if (mode === undefined) return method === "GET" && acceptsHtml(fields) ? "page" : "other";
  if (mode !== "navigate") return "other";
  if (getField(fields, "sec-fetch-dest") !== "document") return "frame";
  return method === "GET" ? "page" : "form";
}

/** Browsers that send no Fetch Metadata ask for pages by name; scripts and programs for anything. */
function acceptsHtml(fields: RequestHead["fields"]): boolean {
  return listHas(fields, "accept", "text/html") ||
    (getField(fields, "accept") ?? "").toLowerCase().startsWith("text/html;");
}
