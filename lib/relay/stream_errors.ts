/** What a caller is told of a stream that ended before the target's response began. */
import { isKnownFault } from "../http1/faults.ts";
import type { StreamErrorCode } from "../protocol/errors.ts";
import type { RelayError } from "./relay_error.ts";

/** What an agent's error text begins with when it has found a target's answer malformed. */
const answerFault = "The target's answer: ";

/**
 * An error about a target's answer with the reason, where that is one of our own lines: an agent may
 * say anything, and addresses are not for callers.
 */
export function because(error: RelayError, text: string): RelayError {
  const reason = text.startsWith(answerFault) ? text.slice(answerFault.length) : text;
  return isKnownFault(reason) ? { ...error, message: `${error.message}: ${reason}` } : error;
}

/** What each reason that a stream can end with means to a caller. */
const byStreamError: Record<StreamErrorCode, Omit<RelayError, "code">> = {
  refused: badGateway("the target refused the connection"),
  unreachable: badGateway("the target can't be reached"),
  tls: badGateway("no trusted TLS connection to the target"),
  protocol: badGateway("the target's response is not valid HTTP"),
  reset: badGateway("the connection to the target broke"),
  internal: badGateway("the agent failed"),
  timeout: {
    status: 504,
    reason: "Gateway Timeout",
    message: "the target did not respond in time",
  },
  forbidden: {
    status: 403,
    reason: "Forbidden",
    message: "the agent does not serve the target that the relay is configured with",
  },
  limit: {
    status: 503,
    reason: "Service Unavailable",
    limit: "max-streams",
    message: "the agent's streams are all in use",
    retryAfterSeconds: 1,
  },
  // No time for another try: a token file does not come back in a second, and kubectl, told to
  // wait, would try ten times before it says anything.
  credentials: {
    status: 503,
    reason: "Service Unavailable",
    message: "the agent has no credential for the target",
  },
  kind_not_supported: badGateway(
    "the agent serves the target with another kind of stream",
  ),
  path_not_served: {
    status: 404,
    reason: "Not Found",
    message: "nothing is published at this path",
  },
};

function badGateway(message: string): Omit<RelayError, "code"> {
  return { status: 502, reason: "Bad Gateway", message };
}

/** The answer for a stream that ended with an error before the target's answer began. */
export function fromStreamError(code: StreamErrorCode, text = ""): RelayError {
  const error = { ...byStreamError[code], code };
  return code === "protocol" ? because(error, text) : error;
}
