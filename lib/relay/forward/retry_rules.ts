/** Which requests may be sent a second time (docs/protocol.md, "Retried requests"). */
import { requestedUpgrade } from "../../http1/fields.ts";
import { isRepeatable } from "../../http1/repeatable.ts";
import type { Exchange } from "../../net/exchange.ts";
import type { StreamErrorCode } from "../../protocol/errors.ts";
import type { Session } from "../../protocol/session.ts";
import type { Stream } from "../../protocol/stream.ts";

/**
 * Why it is safe to send a request through another session.
 *
 * - `unsent`: none of it had left, not even its Open
 * - `not_started`: the agent said that nothing of it had reached the target
 * - `session_lost`: its session ended before any answer, and it asks for no change
 * - `relay_lost`: the same, with the relay that it was forwarded to
 */
export type RetryReason = "unsent" | "not_started" | "session_lost" | "relay_lost";

/**
 * Whether a request may go to the next relay though one before may have had its head: it asks for no
 * change (RFC 9110 section 9.2.1); or its body, of which nothing is sent before the other relay's word,
 * is still here, so that no target can have had the whole of it, and an incomplete request is none (RFC
 * 9112 section 8).
 */
export function mayTryAnotherRelay({ head, framing }: Exchange): boolean {
  const isUnfinished = framing.kind !== "none" && requestedUpgrade(head) === undefined;
  return isUnfinished || isRepeatable(head, framing);
}

/** What has failed before a byte of the answer. */
export interface LostAttempt {
  /** The relay that had the request. */
  readonly toRelay: string | undefined;
  /** The session that had it, and its stream. */
  readonly session: Session | undefined;
  readonly stream: Stream | undefined;
  readonly code: StreamErrorCode;
}

/**
 * Why it is safe to look for a session elsewhere, where none is left here, or nothing.
 *
 * An agent that answers has said why it failed, and of a body there may be no copy: only requests
 * without one whose session is gone are sent again.
 */
export function rerouteReason(
  exchange: Exchange,
  { toRelay, session, stream, code }: LostAttempt,
): RetryReason | undefined {
  const { head, framing } = exchange;
  if (toRelay !== undefined) return isRepeatable(head, framing) ? "relay_lost" : undefined;
  if (!stream || !session?.isClosed || framing.kind !== "none") return undefined;
  return retryReason(exchange, { session, stream, code });
}

/** Errors with which an agent says that the target has got nothing of the request, and says so soon. */
const notStartedCodes: ReadonlySet<StreamErrorCode> = new Set(
  ["refused", "unreachable", "tls", "limit", "credentials"] as const,
);

/** A try that failed before any byte of an answer. */
export interface FailedAttempt {
  readonly session: Session;
  readonly stream: Stream;
  readonly code: StreamErrorCode;
}

/** What makes it safe to send a request again whose try failed so, if anything does. */
export function retryReason(
  { head, framing }: Exchange,
  { session, stream, code }: FailedAttempt,
): RetryReason | undefined {
  if (stream.unsent) return "unsent";
  if (session.isClosed) return isRepeatable(head, framing) ? "session_lost" : undefined;
  const isHere = framing.kind === "none";
  return isHere && notStartedCodes.has(code) ? "not_started" : undefined;
}
