/** `X-Request-Id`: one name for a request in the logs of its caller, the relay, the agent and the target. */
import { type Field, field } from "../../http1/head.ts";

/** The name of the field, as the relay writes it. */
export const requestIdField = "X-Request-Id";

/** What a caller's id may be: nothing that a log, a shell or a terminal would take for more than text. */
const safeId = /^[\w.:+/=@~-]{1,128}$/;

/** Ids that are made at a time: one call for random bytes costs as much as many ids. */
const idsPerBatch = 256;
/** 128 bits, in hexadecimal. */
const idChars = 32;

let batch = "";
let at = 0;

/** The caller's id if there is exactly one and it is safe to pass on; else a new one. */
export function requestIdOf(fields: readonly Field[]): string {
  let given: string | undefined;
  for (const { key, value } of fields) {
    if (key !== "x-request-id") continue;
    if (given !== undefined) return newRequestId();
    given = value;
  }
  return given !== undefined && safeId.test(given) ? given : newRequestId();
}

/** A random id. */
export function newRequestId(): string {
  if (at === batch.length) {
    batch = crypto.getRandomValues(new Uint8Array(idsPerBatch * idChars / 2)).toHex();
    at = 0;
  }
  at += idChars;
  return batch.slice(at - idChars, at);
}

/** The header line that carries an id. */
export function requestIdLine(id: string): Field {
  return field(requestIdField, id);
}
