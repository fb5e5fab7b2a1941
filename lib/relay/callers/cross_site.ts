/**
 * Requests that a page of another site has a browser send. Callers who show no token of their own
 * are known by where they are or by something that the browser adds by itself, so any page that
 * their user opens could act for them, and read what a target opens to every origin.
 */
import { getField, type RequestHead } from "../../http1/head.ts";
import { isHost } from "../../http1/request_target.ts";
import type { Peer } from "../../net/exchange.ts";
import { crossSiteRefused } from "../caller_errors.ts";
import { type Caller, Denial } from "./caller.ts";
import { isAmbient } from "./caller_methods.ts";

const crossSite = new Denial("cross_site", crossSiteRefused);

/** Why a caller's request is not taken though the caller is, or nothing. */
export function refuseCrossSite({ kind }: Caller, head: RequestHead): Denial | undefined {
  return isAmbient(kind) && isCrossSite(head, ["host", "x-forwarded-host"]) ? crossSite : undefined;
}

/**
 * The same at a hostname of its own, which is what the browser asked for: no proxy's word is needed for
 * it. Sibling hostnames are the same site to browsers, so cookies are sent with their requests.
 *
 * @param origins Others whose pages may send requests.
 */
export function refuseCrossSiteAt(
  caller: Caller,
  { head, peer }: { readonly head: RequestHead; readonly peer: Peer },
  origins: readonly string[],
): Denial | undefined {
  if (!isAmbient(caller.kind)) return undefined;
  const origin = getField(head.fields, "origin");
  if (origin !== undefined && origins.includes(origin)) return undefined;
  if (isCrossSite(head, ["host"])) return crossSite;
  // A page without TLS may be anybody's on the way.
  if (origin !== undefined && peer.isTls && !origin.startsWith("https:")) return crossSite;
  // Every browser sends it with a WebSocket handshake, and with nothing else to go by.
  const lacksOrigin = origin === undefined && getField(head.fields, "upgrade") !== undefined &&
    (caller.kind === "session" || caller.kind === "edge") && !isProgram(caller);
  return lacksOrigin ? crossSite : undefined;
}

/** Providers give programs no subject, and their tokens are in no browser. */
function isProgram({ person }: Caller): boolean {
  return person?.subject === "";
}

/**
 * Whether a browser says that a request is some other site's: by `Sec-Fetch-Site` (W3C Fetch Metadata),
 * which not all browsers send, nor for WebSockets; else by `Origin`. Sites of one domain are others:
 * a neighbour's page may be anybody's. Programs send neither field.
 */
function isCrossSite(head: RequestHead, hostKeys: readonly string[]): boolean {
  const { fields } = head;
  const site = getField(fields, "sec-fetch-site");
  if (site !== undefined) {
    return site !== "same-origin" && site !== "none" && !isNavigation(head);
  }
  const origin = getField(fields, "origin");
  return origin !== undefined && !isOwnOrigin(origin, head, hostKeys);
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
function isOwnOrigin(
  origin: string,
  { fields }: RequestHead,
  hostKeys: readonly string[],
): boolean {
  const url = URL.parse(origin);
  if (!url?.host) return false;
  return hostKeys.some((key) => {
    const host = getField(fields, key);
    if (host === undefined || !isHost(host)) return false;
    // A scheme's default port counts as none, on either side.
    return URL.parse(`${url.protocol}//${host}`)?.host === url.host;
  });
}
