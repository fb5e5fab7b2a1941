/** Answers of the admin API that say no. */

/** What goes with the message, for programs. */
export interface ApiErrorDetails {
  /** The key of the body that is wrong. */
  readonly field?: string | undefined;
  /** What the token may name. */
  readonly allowed?: readonly string[] | undefined;
}

/** A status, a stable code and a message for people. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly code: string;
  readonly details: ApiErrorDetails;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    message: string,
    details: ApiErrorDetails = {},
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
    this.headers = headers;
  }

  /** The body of the answer. */
  get body(): object {
    return { error: { code: this.code, message: this.message, ...this.details } };
  }
}

/** Nothing can be stored at the moment; what is in use stays. */
export function storeUnavailable(message: string): ApiError {
  return new ApiError(503, "store_unavailable", message, {}, { "Retry-After": "5" });
}
