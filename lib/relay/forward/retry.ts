/** Which requests may be sent a second time (docs/protocol.md, "Requests that are sent again"). */
import { requestedUpgrade } from "../../http1/fields.ts";
import { isSafeMethod } from "../../http1/methods.ts";
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
  exchange: Exchange,
  { session, stream, code }: FailedTry,
): RetryReason | undefined {
  if (stream.unsent) return "unsent";
  if (session.isClosed) return isRepeatable(exchange) ? "session_lost" : undefined;
  const isHere = exchange.framing.kind === "none";
  return isHere && notStartedCodes.has(code) ? "not_started" : undefined;
}

/** Whether a request may be sent again though a target may have got it. */
export function isRepeatable({ head, framing }: Exchange): boolean {
  // Of a body that was sent there is no copy.
  if (framing.kind !== "none") return false;
  // An upgrade may be a GET and yet start something, as Kubernetes' exec does.
  return isSafeMethod(head.method) && requestedUpgrade(head) === undefined;
}
