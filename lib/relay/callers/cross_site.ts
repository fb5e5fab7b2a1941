/**
 * Requests that a page of another site has a browser send. Callers who show no token of their own
 * are known by where they are or by something that the browser adds by itself, so any page that
 * their user opens could act for them, and read what a target opens to every origin.
 */
import { getField, type RequestHead } from "../../http1/head.ts";
import { isHost } from "../../http1/request_target.ts";
import { crossSiteRefused } from "../errors.ts";
import { type Caller, Denial } from "./caller.ts";
import { isAmbient } from "./methods.ts";

const crossSite = new Denial("cross_site", crossSiteRefused);

/** Why a caller's request is not taken though the caller is, or nothing. */
export function refuseCrossSite({ kind }: Caller, head: RequestHead): Denial | undefined {
  return isAmbient(kind) && isCrossSite(head) ? crossSite : undefined;
}

/**
 * Whether a browser says that a request is some other site's: by `Sec-Fetch-Site` (W3C Fetch Metadata),
 * which not all browsers send, nor for WebSockets; else by `Origin`. Sites of one domain are others:
 * a neighbour's page may be anybody's. Programs send neither field.
 */
function isCrossSite(head: RequestHead): boolean {
  const { fields } = head;
  const site = getField(fields, "sec-fetch-site");
  if (site !== undefined) {
    return site !== "same-origin" && site !== "none" && !isNavigation(head);
  }
  const origin = getField(fields, "origin");
  return origin !== undefined && !isOwnOrigin(origin, head);
}

/**
 * A link that somebody follows, in a window of its own: the page that has it can neither read the
 * answer nor frame it.
 */
function isNavigation({ method, fields }: RequestHead): boolean {
  return method === "GET" && getField(fields, "upgrade") === undefined &&
    getField(fields, "sec-fetch-mode") === "navigate" &&
    getField(fields, "sec-fetch-dest") === "document";
}

/** A proxy in front may have put in its own Host; no page can set the other field on its own. */
function isOwnOrigin(origin: string, { fields }: RequestHead): boolean {
  const url = URL.parse(origin);
  if (!url?.host) return false;
  return ["host", "x-forwarded-host"].some((key) => {
    const host = getField(fields, key);
    if (host === undefined || !isHost(host)) return false;
    // A scheme's default port counts as none, on either side.
    return URL.parse(`${url.protocol}//${host}`)?.host === url.host;
  });
}
