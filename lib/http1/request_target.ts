/** What a request asks for and of which host: forms of the request target, and `Host` (RFC 9112 section 3.2). */
import { type Field, field, HeadError, type RequestHead } from "./head.ts";

/**
 * `uri-host [":" port]` (RFC 9110 section 7.2), without the comma that a registered name may have:
 * it is how two `Host` lines look that somebody has joined.
 */
const hostPattern =
  /^(?:\[[0-9A-Za-z:.%_~-]+\]|(?:[0-9A-Za-z._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*)(?::\d{0,5})?$/;
/** Absolute form: scheme, authority, and what follows. A `#` ends no authority, it has no place here. */
const absolutePattern = /^https?:\/\/([^/?#]*)/i;

/** Whether a value is a host with or without a port, and nothing else. An empty one is not. */
export function isHost(value: string): boolean {
  return value !== "" && value[0] !== ":" && hostPattern.test(value) && hasPossiblePort(value);
}

function hasPossiblePort(host: string): boolean {
  const port = /:(\d*)$/.exec(host)?.[1];
  return port === undefined || Number(port) <= 65_535;
}

/** Requests of one caller name the same host: it is looked at once. */
let lastGoodHost = "";

/**
 * Checks the target and the host of a request.
 *
 * @returns the head; for a target in absolute form with that authority as its `Host`, whatever the
 * caller's own said (RFC 9112 section 3.2.2), so that everybody behind sees one host
 * @throws {HeadError} 400
 */
export function checkRequest(head: RequestHead): RequestHead {
  const host = hostOf(head);
  const { target, method } = head;
  // RFC 9112 section 3.2: a fragment is for the client itself. Some programs would cut it off, others not.
  if (target.includes("#")) throw new HeadError(400, "Request target has a fragment (#)");
  if (target.startsWith("/")) return head;
  if (target === "*") {
    if (method === "OPTIONS") return head;
    throw new HeadError(400, "Request target * is for OPTIONS only");
  }
  const authority = absolutePattern.exec(target)?.[1];
  if (authority === undefined) {
    throw new HeadError(400, "Request target is neither a path nor an http or https URL");
  }
  // RFC 9110 section 4.2.4: a name and password in front of the host are an error.
  if (authority.includes("@")) throw new HeadError(400, "Request target holds userinfo");
  if (!isHost(authority)) throw new HeadError(400, "Request target's host is malformed");
  return authority === host ? head : { ...head, fields: withHost(head.fields, authority) };
}

/**
 * The path of a request target that {@link checkRequest} has let pass, as it stands there; empty for
 * `*`, and `/` for a URL without a path (RFC 9112 section 3.2.1).
 */
export function pathOf(target: string): string {
  if (target === "*") return "";
  const end = target.indexOf("?");
  const path = end < 0 ? target : target.slice(0, end);
  return path.startsWith("/") ? path : path.replace(absolutePattern, "") || "/";
}

/** A request of HTTP/1.1 names its host exactly once (RFC 9112 section 3.2); it may be empty. */
function hostOf({ fields, minor }: RequestHead): string | undefined {
  let host: string | undefined;
  let count = 0;
  for (const { key, value } of fields) {
    if (key !== "host") continue;
    host = value;
    count++;
  }
  if (count > 1 || (count === 0 && minor === 1)) {
    throw new HeadError(400, "Host must appear exactly once");
  }
  if (host && host !== lastGoodHost) {
    if (!isHost(host)) throw new HeadError(400, "Host is malformed");
    lastGoodHost = host;
  }
  return host;
}

function withHost(fields: readonly Field[], authority: string): Field[] {
  const others = fields.filter(({ key }) => key !== "host");
  return [field("Host", authority), ...others];
}
