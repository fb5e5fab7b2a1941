/** Which header fields go on to the next hop. Each list names the section that it comes from. */
import { type Field, getField, listHas, type RequestHead } from "./head.ts";

/** RFC 9110 section 7.6.1, and `Keep-Alive` and `Proxy-Connection`, which it says to treat alike. */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  // RFC 9110 section 6.6.2: a request's trailers are dropped, so nobody is to wait for them.
  "trailer",
  // RFC 9110 sections 11.7.1 and 11.7.2: between a client and its own proxy.
  "proxy-authenticate",
  "proxy-authorization",
]);

const messageFields = new Set(["host", "content-length", "content-type", "content-encoding"]);

/**
 * Whether a sender can have a field dropped by naming it in `Connection`: not where the message
 * would mean something else without it (RFC 9110 section 7.6.1 forbids to name such fields). A proxy in front
 * may have added `Impersonate-*` to the request of somebody who named it, to take less for more.
 */
function isForConnection(name: string): boolean {
  return !messageFields.has(name) && !name.startsWith("impersonate-");
}

/** The fields that are for the next hop too: all but the hop-by-hop ones and those named in `Connection`. */
export function endToEnd(fields: readonly Field[]): Field[] {
  const named = connectionOptions(fields);
  return fields.filter(({ key }) => !hopByHop.has(key) && !named?.has(key));
}

function connectionOptions(fields: readonly Field[]): Set<string> | undefined {
  let names: Set<string> | undefined;
  for (const { key, value } of fields) {
    if (key !== "connection") continue;
    const lower = value.toLowerCase();
    // The two that nearly every message has name no field.
    if (lower === "keep-alive" || lower === "close") continue;
    names ??= new Set();
    for (const part of lower.split(",")) {
      const name = part.trim();
      if (isForConnection(name)) names.add(name);
    }
  }
  return names;
}

/**
 * Protocols in which further requests would follow that nobody on the way reads: with the caller's
 * own credentials, past every rule about headers. An offer to change to one may be ignored.
 */
const unreadProtocols = new Set(["h2c", "h2", "http", "tls"]);

/** The protocol that a request asks to change to, or nothing (RFC 9110 section 7.8). */
export function requestedUpgrade(
  head: Pick<RequestHead, "minor" | "fields">,
): string | undefined {
  if (head.minor === 0 || !listHas(head.fields, "connection", "upgrade")) return undefined;
  const upgrade = getField(head.fields, "upgrade");
  const names = upgrade?.toLowerCase().split(",").map((name) => name.trim().split("/", 1)[0]!);
  return names?.some((name) => unreadProtocols.has(name)) ? undefined : upgrade;
}

/** Whether the connection is to stay open after this message (RFC 9112 section 9.3). */
export function keepsAlive(head: { minor: number; fields: readonly Field[] }): boolean {
  return head.minor === 1 && !listHas(head.fields, "connection", "close");
}
