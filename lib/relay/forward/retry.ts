/** Which requests may be sent a second time (docs/protocol.md, "Requests that are sent again"). */
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

/** Errors with which an agent says that the target has got nothing of the request, and says so soon. */
const notStartedCodes: ReadonlySet<StreamErrorCode> = new Set(
  ["refused", "unreachable", "tls", "limit", "credentials"] as const,
);
/** A try that failed before any byte of an answer. */
export interface FailedTry {
  readonly session: Session;
  readonly stream: Stream;
  readonly code: StreamErrorCode;
}

/** What makes it safe to send a request again whose try failed so, if anything does. */
export function retryReason(
  { head, framing }: Exchange,
  { session, stream, code }: FailedTry,
): RetryReason | undefined {
  if (stream.unsent) return "unsent";
  if (session.isClosed) return isRepeatable(head, framing) ? "session_lost" : undefined;
  const isHere = framing.kind === "none";
  return isHere && notStartedCodes.has(code) ? "not_started" : undefined;
}
