/** What the body of an answer of the relay's own must be, told apart from how the relay makes it. */
import { deepEqual, equal, match } from "node:assert/strict";

/** Reasons as Kubernetes has them, by status. */
const reasons: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  405: "MethodNotAllowed",
  408: "Timeout",
  413: "RequestEntityTooLarge",
  421: "InternalError",
  429: "TooManyRequests",
  431: "InternalError",
  501: "NotImplemented",
  502: "BadGateway",
  503: "ServiceUnavailable",
  504: "Timeout",
  508: "InternalError",
  505: "InternalError",
};

/** The whole body for an error. */
export function errorText(status: number, code: string, message: string): string {
  const reason = reasons[status];
  const fields = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure" };
  return JSON.stringify({ error: { code, message }, ...fields, message, reason, code: status });
}

/** Asserts that a body is such an error of this status, whatever it says. */
export function assertErrorText(text: string, status: number): { code: string; message: string } {
  const { error } = JSON.parse(text);
  deepEqual(Object.keys(error), ["code", "message"]);
  match(error.code, /^[a-z_]+$/);
  equal(text, errorText(status, error.code, error.message));
  return error;
}
