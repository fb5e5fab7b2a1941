/** Why an agent has no session: what the relay, or something on the way to it, did. */

/** What came with a refusal. */
export interface RefusalDetails {
  /** The relay's own words, one printable line. */
  readonly answer?: string | undefined;
  /** What it asks to wait at least (RFC 9110 section 10.2.3). */
  readonly retryAfterMs?: number | undefined;
}

/** The relay answered the handshake with something else than a WebSocket. */
export class RelayRefusedError extends Error {
  override readonly name = "RelayRefusedError";
  readonly status: number;
  readonly details: RefusalDetails;

  constructor(status: number, details: RefusalDetails = {}) {
    const { answer } = details;
    const advice = adviceFor(status, answer);
    super(
      `The relay answered with status ${status}${answer === undefined ? "" : ` (${answer})`}` +
        (advice === undefined ? "" : `; ${advice}`),
    );
    this.status = status;
    this.details = details;
  }
}

/**
 * A connection that ended before any answer. TLS 1.3 lets a client send its request before the
 * server has judged its certificate, and the reset that follows can overtake the alert that says why
 * (RFC 8446 section 4.6.2 and appendix E.1): attempt by attempt, the same relay explains itself or
 * does not.
 */
export class RelayConnectionError extends Error {
  override readonly name = "RelayConnectionError";
  /** `alert`: the relay said why, by a TLS alert. `silent`: it ended the connection without a word. */
  readonly kind: "alert" | "silent";

  constructor(kind: "alert" | "silent", message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

function adviceFor(status: number, answer: string | undefined): string | undefined {
  switch (status) {
    case 400:
      return "if it demands a client certificate, give one with --client-cert";
    case 401:
      return "check --token against the relay's clusters file";
    case 403:
      return "check --client-cert against certificateName in the relay's clusters file";
    case 407:
      return "a proxy on the way asks for credentials; name it with --proxy";
    case 426:
      // A relay's, to a handshake that is none any more.
      return "a proxy on the way must pass the field Upgrade";
    case 429:
      return "too many attempts with wrong tokens came from this address; check --token";
    case 503:
      return answer === undefined
        ? "the relay, or what is before it, takes no agents now"
        : undefined;
    case 500:
    case 502:
    case 504:
      return "the relay failed, or what is before it can't reach it; see their logs";
  }
  if (status !== 404 && status >= 400) return undefined;
  return "--server must lead to the relay's public listener, wss://HOST[:PORT]/connect";
}
