/**
 * Which requests the local port of `access http` takes. Whoever sends one through it has what the
 * token opens, and any page that the user visits can send requests to this machine's ports.
 */
import { getField, type RequestHead } from "../http1/head.ts";
import type { RelayError } from "../relay/relay_error.ts";

const ownNames: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** Why a request is not taken, or nothing. */
export function refuseLocal(head: RequestHead): RelayError | undefined {
  const { fields, target } = head;
  if (!target.startsWith("/") && target !== "*") return notAProxy;
  const host = getField(fields, "host");
  // A page whose name was made to mean this machine (DNS rebinding) still asks for its own name.
  if (host === undefined || !ownNames.has(nameOf(host))) return otherHost;
  const site = getField(fields, "sec-fetch-site");
  if (site !== undefined && site !== "same-origin" && site !== "none") return crossSite;
  const origin = getField(fields, "origin");
  return origin === undefined || isOwnOrigin(origin, host) ? undefined : crossSite;
}

/** Whether an `Origin` is the local port's own. */
export function isOwnOrigin(origin: string, host: string): boolean {
  return origin.toLowerCase() === `http://${host.toLowerCase().replace(/:80$/, "")}`;
}

function nameOf(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, "");
}

const notAProxy: RelayError = {
  status: 400,
  reason: "Bad Request",
  code: "bad_request",
  message: "access http is not a proxy: send it a path, not a URL",
};

const otherHost: RelayError = {
  status: 421,
  reason: "Misdirected Request",
  code: "other_host",
  message: "access http answers to localhost, 127.0.0.1 and [::1] only",
};

const crossSite: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "cross_site",
  message: "the request comes from a page of another site",
};
