/** What the tests of this room share: requests of callers with and without credentials. */
import { equal } from "node:assert/strict";
import { errorText } from "../support/error_body.ts";
import { requestHead, type Tunnel } from "../http/tunnel.ts";
import { bodyText, statusOf, type WireMessage } from "../http/wire.ts";

/** The line of a bearer token. */
export function bearer(token: string): string {
  return `Authorization: Bearer ${token}`;
}

/** Asks for a path with header lines. */
export async function ask(
  tunnel: Tunnel,
  path: string,
  fields: readonly string[] = [],
): Promise<WireMessage> {
  return await tunnel.ask(requestHead("GET", path, fields));
}

/** Asserts that an answer is the relay's refusal of an unknown caller, byte for byte. */
export function assertUnknown(answer: WireMessage, why: string): void {
  const message = "the caller needs a valid credential";
  equal(bodyText(answer), errorText(401, "caller_unknown", message), why);
  equal(statusOf(answer), 401, why);
}

/** Asserts that an answer is the relay's refusal of a cluster. */
export function assertForbidden(answer: WireMessage, why: string): void {
  const message = "the caller may not reach this cluster";
  equal(bodyText(answer), errorText(403, "caller_forbidden", message), why);
  equal(statusOf(answer), 403, why);
}

/** How often callers were denied for a reason, as the relay's metrics say. */
export async function deniedCount(tunnel: Tunnel, reason: string): Promise<number> {
  const response = await fetch(`http://${tunnel.relay.internalAddress}/metrics`);
  const text = await response.text();
  const match = new RegExp(`^culvert_callers_denied_total\\{reason="${reason}"\\} (\\d+)$`, "m")
    .exec(text);
  return Number(match?.[1] ?? 0);
}
