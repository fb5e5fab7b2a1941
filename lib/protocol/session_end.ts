/** Why a session ended, for logs, metrics and callers. */
import { CloseCode } from "./errors.ts";

/** How a session ended. */
export interface SessionEnd {
  /** WebSocket close code; 1006 when the connection broke without one. */
  code: number;
  reason: string;
  /** The connection had not ended: nothing was heard on it any more. */
  isSilence?: true;
}

/** A session's end in one word: a closed list, so that peers can't add to metrics. */
export type SessionEndReason =
  /** One side stops. */
  | "going_away"
  /** A newer session of the same agent took its place. */
  | "replaced"
  /** The connection ended without a closing handshake. */
  | "broken"
  /** Nothing was heard any more. */
  | "silent"
  | "protocol_error"
  | "internal_error"
  /** The peer did not read its control frames. */
  | "overloaded"
  /** A message was too long. */
  | "too_large"
  /** The peer sent more frames than the bounds allow. */
  | "excessive"
  | "not_permitted"
  /** Any other code. */
  | "other";

const byCode = new Map<number, SessionEndReason>([
  [CloseCode.GoingAway, "going_away"],
  [CloseCode.Replaced, "replaced"],
  [CloseCode.ProtocolError, "protocol_error"],
  [CloseCode.InternalError, "internal_error"],
  [CloseCode.TryAgainLater, "overloaded"],
  [CloseCode.NotPermitted, "not_permitted"],
  [1006, "broken"],
  [CloseCode.Excessive, "excessive"],
  [1009, "too_large"],
]);

/** Puts an end into one word. A standard WebSocket sends 3001 where others send 1001, and so on. */
export function endReason({ code, isSilence }: SessionEnd): SessionEndReason {
  if (isSilence) return "silent";
  const meant = code >= 3001 && code <= 3015 ? code - 2000 : code;
  return byCode.get(meant) ?? "other";
}
