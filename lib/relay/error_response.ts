/** How the relay answers with one of its own errors: status, fields, and a short body that clients show. */
import { encodeLatin1 } from "../bytes/bytes.ts";
import { dateField } from "../http1/date.ts";
import { type Field, field, getField, type RequestHead } from "../http1/head.ts";
import { errorBody } from "../net/error_body.ts";
import type { Exchange } from "../net/exchange.ts";
import type { RelayError } from "./relay_error.ts";

/** Answers with an error, or breaks the connection when an answer has begun: never a cut one that looks whole. */
export function answerError(
  exchange: Exchange,
  error: RelayError,
  more: readonly Field[] = [],
): void {
  if (exchange.isAnswered) return exchange.abort();
  const { fields, body } = answerTo(error, exchange.head);
  exchange.answer(error.status, error.reason, [...fields, ...more], body);
}

/** The answer where there is no exchange: at edge admission. */
export function errorResponse(error: RelayError, head?: AskedHead): Response {
  const { fields, body } = answerTo(error, head);
  const headers = new Headers(fields.map(({ name, value }): [string, string] => [name, value]));
  const { status, reason: statusText } = error;
  return new Response(body as Uint8Array<ArrayBuffer>, { status, statusText, headers });
}

/** What of a request decides how its error is told. */
type AskedHead = Pick<RequestHead, "target" | "fields">;

/**
 * Header fields and body of an error. Most clients of Kubernetes read its `Status`. kubectl begins with
 * requests whose answers client-go hands on unread: of an error it makes a text of its own by the
 * status, and at best cites the body, if that is plain text. Its warnings it shows whatever the status.
 */
function answerTo(error: RelayError, head: AskedHead | undefined) {
  const { status, code, message, retryAfterSeconds, challenge, allow, upgrade } = error;
  const reader = head ? readerOf(head) : "status";
  const isText = reader === "discovery";
  const fields = [
    field("Content-Type", isText ? "text/plain; charset=utf-8" : "application/json"),
    field("Cache-Control", "no-store"),
  ];
  if (retryAfterSeconds) fields.push(field("Retry-After", String(retryAfterSeconds)));
  if (challenge) fields.push(field("WWW-Authenticate", challenge));
  if (allow) fields.push(field("Allow", allow));
  if (upgrade) fields.push(field("Upgrade", upgrade), field("Connection", "upgrade"));
  fields.push(dateField());
  if (reader === "raw" || (isText && !citesText(status))) {
    fields.push(field("Warning", `299 - "${message.replace(/[\\"]/g, "\\$&")}"`));
  }
  const body = isText ? encodeLatin1(message) : errorBody(status, code, message);
  return { fields, body };
}

/**
 * Who reads the answer: `discovery` is kubectl's first question, which APIs there are; `raw` are others
 * whose answers client-go hands on unread; `status` are all the rest.
 */
function readerOf({ target, fields }: AskedHead): "discovery" | "raw" | "status" {
  if (getField(fields, "accept")?.includes("g=apidiscovery.k8s.io")) return "discovery";
  return rawPath.test(target) ? "raw" : "status";
}

/** The versions of the API server and its schemas. */
const rawPath = /\/(?:version|openapi\/v[23](?:\/[^?]*)?)\/?(?:\?|$)/;

/** Statuses with which client-go cites a plain text (`NewGenericServerResponse` in apimachinery). */
function citesText(status: number): boolean {
  return status === 403 || (status >= 500 && status !== 503 && status !== 504);
}
