/**
 * Requests that a page of another site has a browser send. Callers who show no token of their own
 * are known by where they are or by a certificate that the browser adds by itself, so any page that
 * their user opens could act for them.
 */
import { getField, type RequestHead } from "../../http1/head.ts";
import { isHost } from "../../http1/request_target.ts";
import { isSafeMethod } from "../../http1/methods.ts";
import { crossSiteRefused } from "../errors.ts";
import { type Caller, Denial } from "./caller.ts";

const crossSite = new Denial("cross_site", crossSiteRefused);

/** Why a caller's request is not taken though the caller is, or nothing. */
export function refuseCrossSite({ kind }: Caller, head: RequestHead): Denial | undefined {
  const isAmbient = kind === "network" || kind === "certificate";
  return isAmbient && isCrossSite(head) ? crossSite : undefined;
}

/**
 * Whether a browser says that a request is some other site's, and it may change something: by
 * `Sec-Fetch-Site` (W3C Fetch Metadata), which not all browsers send, nor for WebSockets; else by
 * `Origin`. A change of protocols is a GET for which browsers ask no site's leave.
 */
function isCrossSite({ method, fields }: RequestHead): boolean {
  // A page can't read other sites' answers.
  if (isSafeMethod(method) && getField(fields, "upgrade") === undefined) return false;
  const site = getField(fields, "sec-fetch-site");
  if (site !== undefined) return site !== "same-origin" && site !== "none";
  const origin = getField(fields, "origin");
  if (origin === undefined) return false;
  const from = URL.parse(origin);
  if (!from?.host) return true;
  // A proxy in front may have put in its own Host; no page can set the other one on its own.
  return ["host", "x-forwarded-host"].every((key) => !isHostOf(from, getField(fields, key)));
}

/** Whether an origin is at this host. A scheme's default port counts as none, on either side. */
function isHostOf({ protocol, host }: URL, given: string | undefined): boolean {
  if (given === undefined || !isHost(given)) return false;
  return URL.parse(`${protocol}//${given}`)?.host === host;
}
