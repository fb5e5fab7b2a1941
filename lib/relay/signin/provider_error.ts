/** What can go wrong with an identity provider, told apart by what is done about it. */
import { AuthorizationResponseError, ClientError, ResponseBodyError } from "openid-client";

/** What became of a request to a provider. */
export type ProviderErrorKind =
  /** It can't be reached, is too slow, or says that it has failed: another time it may do. */
  | "unavailable"
  /** It refuses the grant: the person has to sign in again. */
  | "ended"
  /** The person, or a rule of the provider's, said no. */
  | "denied"
  /** The provider's clock and this machine's are too far apart. */
  | "clocks"
  /** Its answer is not what it must be: wrong issuer, nonce, signature, audience. */
  | "invalid";

/** A failure of a provider. The message is for the log: it holds no token and no code. */
export class ProviderError extends Error {
  override readonly name = "ProviderError";
  readonly kind: ProviderErrorKind;
  /** The error code with which it answered the browser's request. */
  readonly code: string | undefined;

  constructor(kind: ProviderErrorKind, message: string, code?: string) {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}

/**
 * What an error of `openid-client` means. Its own messages are fixed texts, so they may be logged;
 * what a provider wrote is cut to the error code's characters.
 *
 * @param unless what an error means that says nothing of its own
 */
export function providerErrorOf(
  error: unknown,
  unless: ProviderErrorKind = "invalid",
): ProviderError {
  if (error instanceof ProviderError) return error;
  if (error instanceof AuthorizationResponseError) {
    const code = codeOf(error.error);
    const isDown = code === "temporarily_unavailable" || code === "server_error";
    const kind = isDown ? "unavailable" : "denied";
    return new ProviderError(kind, `the provider answered ${code}`, code);
  }
  if (error instanceof ResponseBodyError) {
    const code = codeOf(error.error);
    if (error.status >= 500) return new ProviderError("unavailable", `status ${error.status}`);
    return new ProviderError(code === "invalid_grant" ? "ended" : unless, `it answered ${code}`);
  }
  if (error instanceof ClientError) return ofClient(error, unless);
  if (!(error instanceof Error)) return new ProviderError(unless, "it failed");
  // `fetch` and its timeout: nothing of theirs says what was sent.
  const isAway = error instanceof TypeError || error.name === "TimeoutError" ||
    error.name === "AbortError";
  return new ProviderError(isAway ? "unavailable" : unless, error.message);
}

function ofClient(error: ClientError, unless: ProviderErrorKind): ProviderError {
  const { code, cause } = error;
  if (code === "OAUTH_TIMEOUT" || code === "OAUTH_ABORT") {
    return new ProviderError("unavailable", "it did not answer in time");
  }
  const reason = cause instanceof Error ? cause.message : error.message;
  if (cause instanceof ProviderError) return cause;
  if (code === "OAUTH_JWT_TIMESTAMP_CHECK_FAILED") {
    return new ProviderError(
      "clocks",
      `${reason}: the provider's clock and this machine's are more than 30 s apart`,
    );
  }
  if (code === "OAUTH_RESPONSE_IS_NOT_CONFORM" && isServerFault(cause)) {
    return new ProviderError("unavailable", reason);
  }
  return new ProviderError(unless, reason);
}

function isServerFault(cause: unknown): boolean {
  const response = cause instanceof Error && cause.cause instanceof Response
    ? cause.cause
    : cause instanceof Response
    ? cause
    : undefined;
  return response !== undefined && response.status >= 500;
}

/** RFC 6749 section 5.2: printable ASCII, which a provider may not keep to. */
function codeOf(error: string): string {
  return error.replace(/[^\w.-]/g, "_").slice(0, 64);
}
