/** Errors of the tunnel, and the one place that maps stream errors to what a caller sees. */

/** Reasons a stream ends with Error (docs/protocol.md, "Error codes"). */
export const streamErrorCodes = [
  "refused",
  "unreachable",
  "timeout",
  "tls",
  "forbidden",
  "limit",
  "protocol",
  "reset",
  "internal",
  "credentials",
  "kind_not_supported",
  "path_not_served",
] as const;

/** One of {@link streamErrorCodes}. */
export type StreamErrorCode = typeof streamErrorCodes[number];

/** WebSocket close codes that end a session (RFC 6455 section 7.4; from 4000 on, our own). */
export const CloseCode = {
  GoingAway: 1001,
  ProtocolError: 1002,
  NotPermitted: 1008,
  InternalError: 1011,
  TryAgainLater: 1013,
  Replaced: 4001,
  Excessive: 4002,
} as const;

/** The peer broke the protocol: the session closes with 1002. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** The peer makes more work than the protocol's bounds allow: the session closes with 4002. */
export class ExcessError extends Error {
  override readonly name = "ExcessError";
}

/** A stream ended before its bytes did. `code` says why and is stable. */
export class StreamError extends Error {
  override readonly name = "StreamError";
  readonly code: StreamErrorCode;

  constructor(code: StreamErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The most of a peer's error text that is kept, in UTF-16 units: it ends up in log lines. */
const maxErrorText = 512;
/** The most of an Error frame that is read: a cut JSON text would lose its code with its end. */
const maxErrorBytes = 64 * 1024;

/** The payload of a version 2 Error frame. */
export function encodeStreamError(error: StreamError): Uint8Array {
  return encoder.encode(JSON.stringify({ code: error.code, message: error.message }));
}

/** The payload of a version 1 Error frame: its text alone. */
export function encodeErrorText(error: StreamError): Uint8Array {
  return encoder.encode(error.message);
}

/**
 * Reads the payload of an Error frame: JSON from a version 2 peer, free text from version 1.
 *
 * What is not understood becomes `reset` with the peer's text, never an exception: an error must
 * not be lost because it is badly written.
 */
export function decodeStreamError(payload: Uint8Array): StreamError {
  const text = decoder.decode(payload.subarray(0, maxErrorBytes));
  try {
    const { code, message } = JSON.parse(text);
    if (streamErrorCodes.includes(code) && typeof message === "string") {
      return new StreamError(code, message.slice(0, maxErrorText));
    }
  } catch {
    // Not JSON: version 1, where the text is the reason.
  }
  return new StreamError("reset", text.slice(0, maxErrorText) || "The peer gave no reason");
}
