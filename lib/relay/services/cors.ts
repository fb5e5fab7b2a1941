/** Pages of other origins that a service is open to (Fetch standard, "CORS protocol"). */
import { noBytes } from "../../bytes/bytes.ts";
import { dateField } from "../../http1/date.ts";
import { type Field, field, getField, type RequestHead } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";

/** How long browsers may cache the answer to a preflight request, in seconds. */
const maxAgeSeconds = 600;

/** The request's origin, if the service is open to its pages. */
export function corsOriginOf(
  origins: readonly string[],
  { fields }: RequestHead,
): string | undefined {
  if (origins.length === 0) return undefined;
  const origin = getField(fields, "origin");
  return origin !== undefined && origins.includes(origin) ? origin : undefined;
}

/** A response's fields with those that let a page read it; the target's own of this kind go. */
export function corsFields(fields: readonly Field[], origin: string): Field[] {
  const kept = fields.filter(({ key }) =>
    key !== "access-control-allow-origin" && key !== "access-control-allow-credentials"
  );
  return [
    ...kept,
    field("Access-Control-Allow-Origin", origin),
    field("Access-Control-Allow-Credentials", "true"),
    field("Vary", "Origin"),
  ];
}

/** What a page of another origin asks whether it may send. */
export interface Preflight {
  readonly origin: string;
  readonly method: string;
}

/**
 * Reads a preflight of a page that the service is open to. It bears no credential, so it must be answered
 * before anybody is asked for one.
 *
 * @returns nothing for any other request
 */
export function preflightOf(
  head: RequestHead,
  origins: readonly string[],
): Preflight | undefined {
  const origin = corsOriginOf(origins, head);
  const method = getField(head.fields, "access-control-request-method");
  const isPreflight = head.method === "OPTIONS" && origin !== undefined && method !== undefined;
  return isPreflight ? { origin, method } : undefined;
}

/** Lets the page send what it asks for. */
export function answerPreflight(exchange: Exchange, { origin, method }: Preflight): void {
  const asked = getField(exchange.head.fields, "access-control-request-headers");
  const fields = corsFields([dateField()], origin);
  fields.push(field("Access-Control-Allow-Methods", method));
  if (asked !== undefined) fields.push(field("Access-Control-Allow-Headers", asked));
  fields.push(field("Access-Control-Max-Age", String(maxAgeSeconds)));
  exchange.respond(204, "No Content", fields, "none");
  exchange.finish(noBytes);
}
