/** What can go wrong between this program and the API server. */

/** The API server answered with an error. */
export class KubeError extends Error {
  override readonly name = "KubeError";
  readonly status: number;
  /** The machine-readable reason of the Status object, such as `Conflict`. */
  readonly reason: string;
  /** What `Retry-After` asks for, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    status: number,
    reason: string,
    message: string,
    retryAfterMs?: number,
  ) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The API server did not answer, or broke off. */
export class KubeUnreachable extends Error {
  override readonly name = "KubeUnreachable";
}

/** The object or kind does not exist (404). */
export function isNotFound(error: unknown): boolean {
  return error instanceof KubeError && error.status === 404;
}

/** The request is not permitted (403). */
export function isForbidden(error: unknown): boolean {
  return error instanceof KubeError && error.status === 403;
}

/** The object has changed since it was read, or exists already (409). */
export function isConflict(error: unknown): boolean {
  return error instanceof KubeError && error.status === 409;
}

/** A create was refused (403) because the namespace is being deleted. */
export function isNamespaceTerminating(error: unknown): boolean {
  return error instanceof KubeError && error.status === 403 &&
    error.message.includes("because it is being terminated");
}

/** The resource version is too old (410): etcd has been compacted since. */
export function isExpired(error: unknown): boolean {
  return error instanceof KubeError && error.status === 410;
}

/** Repeating the request is useless until something changes. */
export function isPermanent(error: unknown): boolean {
  if (!(error instanceof KubeError)) return false;
  return [400, 403, 405, 413, 415, 422].includes(error.status) || isMistyped(error);
}

/** API servers answer an apply with a field that the kind does not have with 500. */
function isMistyped({ status, message }: KubeError): boolean {
  return status === 500 && message.startsWith("failed to create typed patch object");
}
