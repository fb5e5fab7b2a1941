/** What the relay answers when it has no response of the target's. */

/** An answer of the relay's own. `message` names no address and no credential. */
export interface RelayError {
  readonly status: number;
  readonly reason: string;
  readonly code: string;
  readonly message: string;
  /** The limit that was met, for the metrics: the option's name without its dashes, if there is one. */
  readonly limit?: string;
  /** Seconds after which the caller may try again. */
  readonly retryAfterSeconds?: number;
  /** What would be taken instead of the request's method (RFC 9110 section 10.2.1). */
  readonly allow?: string;
  /** The protocol that would be taken (RFC 9110 section 15.5.22). */
  readonly upgrade?: string;
  /** What a caller can prove itself with (RFC 9110 section 11.6.1). */
  readonly challenge?: string;
}
