/** The body of an answer that is not the target's: short JSON, for people, programs and kubectl. */
import { encodeLatin1 } from "../bytes/bytes.ts";

/**
 * Reasons as the Kubernetes API names them (`metav1.StatusReason`), by HTTP status. Of the others
 * clients make what their status says.
 */
const statusReasons: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  408: "Timeout",
  413: "RequestEntityTooLarge",
  429: "TooManyRequests",
  501: "NotImplemented",
  502: "BadGateway",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/**
 * An error as `{"error": {code, message}}`, and beside that the fields of a Kubernetes `Status`, so
 * that kubectl shows the message, and not "unknown".
 *
 * @param message ASCII; it names no address and no credential
 */
export function errorBody(status: number, code: string, message: string): Uint8Array {
  return encodeLatin1(JSON.stringify({
    error: { code, message },
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason: statusReasons[status] ?? "InternalError",
    code: status,
  }));
}
