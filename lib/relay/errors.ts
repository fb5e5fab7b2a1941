/** What a caller sees when there is no answer of the target's: a status and a short JSON body. */
import { encodeLatin1 } from "../bytes/bytes.ts";
import { dateField } from "../http1/date.ts";
import { isKnownFault } from "../http1/faults.ts";
import { type Field, field, getField, type RequestHead } from "../http1/head.ts";
import { allowedMethods } from "../http1/methods.ts";
import { errorBody } from "../net/error_body.ts";
import type { Exchange } from "../net/exchange.ts";
import type { StreamErrorCode } from "../protocol/errors.ts";

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

/** No credential, or one that is not accepted: the same for every cluster, known or not. */
export const callerUnknown: RelayError = {
  status: 401,
  reason: "Unauthorized",
  code: "caller_unknown",
  message: "the caller needs a valid credential",
  challenge: "Bearer",
};

/** A known caller and a cluster that it may not reach: the same whether or not the cluster exists. */
export const callerForbidden: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "caller_forbidden",
  message: "the caller may not reach this cluster",
};

/** A known caller whom a policy does not let in. */
export const policyDenied: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "policy_denied",
  message: "the policy does not let this caller in",
};

/**
 * A policy lets a caller in with other requests.
 *
 * @param scopes Which those are: `with GET or HEAD`
 */
export function requestDenied(scopes: string): RelayError {
  return {
    status: 403,
    reason: "Forbidden",
    code: "request_denied",
    message: `the policy lets this caller in only ${scopes}`,
  };
}

/** A path that servers read differently, where a policy has rules about paths. */
export const ambiguousPath: RelayError = {
  status: 400,
  reason: "Bad Request",
  code: "ambiguous_path",
  message: "the policy has rules about paths, and servers may read this path differently",
};

/**
 * A field that changes a request's method or path for some targets, where a policy has rules about them.
 *
 * @param name The field's, in lower case.
 */
export function overrideRefused(name: string): RelayError {
  return {
    status: 400,
    reason: "Bad Request",
    code: "override_refused",
    message:
      "the policy has rules about methods or paths, and the request has a header that could " +
      `change them: ${name}`,
  };
}

/**
 * A caller stands for nobody in a cluster whose entry maps callers, or asks for more than it maps.
 *
 * @param why What is missing; made ASCII here.
 */
export function impersonationRefused(why: string): RelayError {
  return {
    status: 403,
    reason: "Forbidden",
    code: "impersonation_refused",
    message: why.replaceAll(/[^\x20-\x7e]/gu, "?"),
  };
}

/** A cluster's entry or a service says whom callers stand for, and its agent would not impersonate them. */
export const cannotImpersonate: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "agent_cannot_impersonate",
  message: "the agent's target does not impersonate: it has no impersonate in the targets file, " +
    "or the agent is older",
};

/** The relay that holds the agent's session would send the request on without its caller's identity. */
export const relayCannotImpersonate: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "relay_cannot_impersonate",
  message: "the relay that holds the agent is too old to impersonate; upgrade all relays",
};

/** The agent wants the provider's own JWT, which this caller did not come with. */
export const noProof: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "no_proof",
  message: "the agent requires the provider's own JWT, and this caller has none",
};

/** What an application would be told of somebody is too long. */
export const identityTooLarge: RelayError = {
  status: 500,
  reason: "Internal Server Error",
  code: "identity_too_large",
  message: "the assertion about the caller is too long: too many groups",
};

/** The request asks to act for somebody else, and the cluster's entry does not say what to do then. */
export function impersonationNotAllowed(cluster: string): RelayError {
  return {
    status: 403,
    reason: "Forbidden",
    code: "impersonation_not_allowed",
    message: "the request has Impersonate-* headers (kubectl --as), which the relay refuses for " +
      `cluster ${cluster}: its entry can say "impersonation": "forward" or "strip"`,
  };
}

/** A page of another site had its user's browser send a request that may change something. */
export const crossSiteRefused: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "cross_site",
  message: "the request comes from another site's page and has no caller token",
};

/** The request names a host that is not the relay's. */
export const otherHost: RelayError = {
  status: 421,
  reason: "Misdirected Request",
  code: "other_host",
  message: "the relay does not accept this host: --hosts lists its names",
};

/** Callers' JWTs can't be verified now. It has no time for another try: kubectl would keep still about it. */
export const callersUnavailable: RelayError = {
  status: 503,
  reason: "Service Unavailable",
  code: "callers_unavailable",
  message: "the relay can't verify callers at the moment",
};

/** Refused credentials have come from this address faster than the relay answers them. */
export const tooManyFailures: RelayError = {
  status: 429,
  reason: "Too Many Requests",
  code: "caller_failures",
  message: "too many refused credentials have come from this address",
  retryAfterSeconds: 1,
};

/** A path of the internal listener under which there is nothing, as when `/tunnel/` was forgotten. */
export const noSuchPath: RelayError = {
  status: 404,
  reason: "Not Found",
  code: "no_such_path",
  message: "the relay has nothing at this path: a cluster is at /tunnel/CLUSTER",
};

/** TRACE and its like: the answer would show the caller what the agent adds for the target. */
export const methodRefused: RelayError = {
  status: 405,
  reason: "Method Not Allowed",
  code: "method_not_allowed",
  message: "the relay does not forward TRACE: its response would contain the agent's credential",
  allow: allowedMethods,
};

/** What a page of the relay's own can't make sense of. */
export const badRequest: RelayError = {
  status: 400,
  reason: "Bad Request",
  code: "bad_request",
  message: "the relay's own pages do not accept this request",
};

/** The relay's own pages are read and sent forms to, and nothing else. */
export const ownMethodRefused: RelayError = {
  status: 405,
  reason: "Method Not Allowed",
  code: "method_not_allowed",
  message: "the relay's own pages accept only GET, HEAD and POST",
  allow: "GET, HEAD, POST, OPTIONS",
};

/** A service worker where people sign in. */
export const workerRefused: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "service_worker",
  message: "service workers are refused where people sign in, unless the service's entry has " +
    '"serviceWorkers": true',
};

/** The request has been through this relay before. */
export const loopDetected: RelayError = {
  status: 508,
  reason: "Loop Detected",
  code: "loop",
  message: "the request came back to the relay: the cluster's target leads back to this relay",
};

/** The request has been through more proxies than `Via` may name. */
export const tooManyHops: RelayError = {
  ...loopDetected,
  code: "too_many_hops",
  message: "the request has been through too many proxies (Via): it may be in a loop",
};

/** Unknown cluster or absent agent: a caller must not learn which (argocd-cluster-proxy). */
export const clusterNotAvailable: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "cluster_not_available",
  message: "cluster not available",
};

/** A host that is none of the relay's services: nothing says which there are. */
export const unknownHost: RelayError = {
  status: 421,
  reason: "Misdirected Request",
  code: "unknown_host",
  message: "nothing is served at this host",
};

/** A request whose host can't be told for certain. */
export const badHost: RelayError = {
  status: 400,
  reason: "Bad Request",
  code: "bad_host",
  message: "the request's host must be one name, without an empty label",
};

/** A path that is culvert's own and at which it has nothing. */
export const noSuchOwnPath: RelayError = {
  status: 404,
  reason: "Not Found",
  code: "no_such_path",
  message: "paths below /.culvert/ are culvert's own, and there is nothing at this one",
};

/** A service that speaks no HTTP: its bytes go through a WebSocket, or a port of the relay. */
export const upgradeToTcp: RelayError = {
  status: 426,
  reason: "Upgrade Required",
  code: "not_http",
  message: "this service does not speak HTTP: connect with culvert's access client",
  upgrade: "websocket",
};

/** The service's agents are there, and none of them lists its target. */
export const targetNotAvailable: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "target_not_available",
  message: "the agent does not serve the target of this service",
};

/** A method that one of culvert's own paths does not have. */
export const methodNotAllowed: RelayError = {
  status: 405,
  reason: "Method Not Allowed",
  code: "get_only",
  message: "this path accepts only GET",
  allow: "GET, HEAD",
};

/** A WebSocket of another protocol than the one that carries TCP. */
export const badTcpHandshake: RelayError = {
  status: 400,
  reason: "Bad Request",
  code: "bad_handshake",
  message: "the WebSocket handshake must have version 13 and offer the subprotocol culvert.tcp.v1",
};

/** An agent that does not speak what the service needs. */
export const kindNotSupported: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "kind_not_supported",
  message: "the agent serves the target with another kind of stream",
};

/** The request asks to act for somebody else, and the service does not say what to do then. */
export function serviceImpersonationNotAllowed(service: string): RelayError {
  return {
    status: 403,
    reason: "Forbidden",
    code: "impersonation_not_allowed",
    message: "the request has Impersonate-* headers (kubectl --as), which the relay refuses for " +
      `service ${service}: its entry can say "impersonation": "forward" or "strip"`,
  };
}

/** The relay is shutting down. */
export const relayStopping: RelayError = {
  status: 503,
  reason: "Service Unavailable",
  code: "stopping",
  message: "the relay is shutting down",
  retryAfterSeconds: 1,
};

/** The session's other end, or this one, stopped, and the request was not done within its grace. */
export const graceOver: RelayError = {
  status: 503,
  reason: "Service Unavailable",
  code: "stopping",
  message: "the relay or the agent stopped before the request had finished",
  retryAfterSeconds: 1,
};

/** The directory that says which relay holds a session can't be asked. */
export const directoryAway: RelayError = {
  status: 503,
  reason: "Service Unavailable",
  code: "directory_unavailable",
  message: "the relays' directory is unavailable",
  retryAfterSeconds: 1,
};

/** Another relay had the request, or may have had it, and is gone. */
export const relayLost: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "relay_lost",
  message: "the connection to the relay that holds the cluster's session broke",
};

/** A caller says that it is a relay, and is none. */
export const forbiddenHop: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "forbidden_hop",
  message: "the request has header fields that only relays may send",
};

/** The answer to a relay that believed a session to be here. */
export const notHere: RelayError = {
  status: 421,
  reason: "Misdirected Request",
  code: "not_here",
  message: "this relay holds no session of the cluster",
};

/** The audit log can't be written, and nothing is done that is not recorded. */
export const auditUnavailable: RelayError = {
  status: 503,
  reason: "Service Unavailable",
  code: "audit",
  message: "the relay can't record the request",
  retryAfterSeconds: 1,
};

/** The caller stopped sending its request's body. */
export const bodyTimeout: RelayError = {
  status: 408,
  reason: "Request Timeout",
  code: "idle",
  limit: "idle-timeout",
  message: "the request's body stalled",
};

/** The target stopped taking the request's body, or sending its answer's, or the caller taking that. */
export const transferTimeout: RelayError = {
  status: 504,
  reason: "Gateway Timeout",
  code: "idle_target",
  limit: "idle-timeout",
  message: "the target stopped reading the request's body",
};

/** The request's body is over the relay's limit. */
export const bodyTooLarge: RelayError = {
  status: 413,
  reason: "Content Too Large",
  code: "body_limit",
  limit: "max-body-bytes",
  message: "the request's body exceeds the relay's limit",
};

/** The target's answer is not HTTP as it must be. */
export const badResponse: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "bad_response",
  message: "the target's response is not valid HTTP",
};

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

/** At the edge, where a platform hands over WebSockets and no other protocol. */
export const upgradeNotSupported: RelayError = {
  status: 501,
  reason: "Not Implemented",
  code: "upgrade_not_supported",
  message: "this relay upgrades to WebSocket only, not to SPDY: use kubectl 1.31 or later, " +
    "or set KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true and KUBECTL_PORT_FORWARD_WEBSOCKETS=true",
};

/** At the edge: RFC 6455 section 4.1. */
export const notAHandshake: RelayError = {
  status: 400,
  reason: "Bad Request",
  code: "bad_request",
  message: "a WebSocket handshake is a GET request without a body",
};

/** A relay that lacks a setting, or has a wrong one; `message` says which. */
export function notConfigured(message: string): RelayError {
  return { status: 503, reason: "Service Unavailable", code: "not_configured", message };
}

/** The target has not answered in time. */
export const responseTimeout: RelayError = {
  status: 504,
  reason: "Gateway Timeout",
  code: "timeout",
  limit: "response-timeout",
  message: "the target did not respond in time",
};

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

/** Answers with an error, or breaks the connection when an answer has begun: never a cut one that looks whole. */
export function answerError(
  exchange: Exchange,
  error: RelayError,
  more: readonly Field[] = [],
): void {
  if (exchange.isAnswered) return exchange.abort();
  const { fields, body } = answerTo(error, exchange.head);
  exchange.answer(error.status, error.reason, [...fields, ...more], body);
}

/** The answer where there is no exchange: at edge admission. */
export function errorResponse(error: RelayError, head?: AskedHead): Response {
  const { fields, body } = answerTo(error, head);
  const headers = new Headers(fields.map(({ name, value }): [string, string] => [name, value]));
  const { status, reason: statusText } = error;
  return new Response(body as Uint8Array<ArrayBuffer>, { status, statusText, headers });
}

/** What of a request decides how its error is told. */
type AskedHead = Pick<RequestHead, "target" | "fields">;

/**
 * Header fields and body of an error. Most clients of Kubernetes read its `Status`. kubectl begins with
 * requests whose answers client-go hands on unread: of an error it makes a text of its own by the
 * status, and at best cites the body, if that is plain text. Its warnings it shows whatever the status.
 */
function answerTo(error: RelayError, head: AskedHead | undefined) {
  const { status, code, message, retryAfterSeconds, challenge, allow, upgrade } = error;
  const reader = head ? readerOf(head) : "status";
  const isText = reader === "discovery";
  const fields = [
    field("Content-Type", isText ? "text/plain; charset=utf-8" : "application/json"),
    field("Cache-Control", "no-store"),
  ];
  if (retryAfterSeconds) fields.push(field("Retry-After", String(retryAfterSeconds)));
  if (challenge) fields.push(field("WWW-Authenticate", challenge));
  if (allow) fields.push(field("Allow", allow));
  if (upgrade) fields.push(field("Upgrade", upgrade), field("Connection", "upgrade"));
  fields.push(dateField());
  if (reader === "raw" || (isText && !citesText(status))) {
    fields.push(field("Warning", `299 - "${message.replace(/[\\"]/g, "\\$&")}"`));
  }
  const body = isText ? encodeLatin1(message) : errorBody(status, code, message);
  return { fields, body };
}

/**
 * Who reads the answer: `discovery` is kubectl's first question, which APIs there are; `raw` are others
 * whose answers client-go hands on unread; `status` are all the rest.
 */
function readerOf({ target, fields }: AskedHead): "discovery" | "raw" | "status" {
  if (getField(fields, "accept")?.includes("g=apidiscovery.k8s.io")) return "discovery";
  return rawPath.test(target) ? "raw" : "status";
}

/** The versions of the API server and its schemas. */
const rawPath = /\/(?:version|openapi\/v[23](?:\/[^?]*)?)\/?(?:\?|$)/;

/** Statuses with which client-go cites a plain text (`NewGenericServerResponse` in apimachinery). */
function citesText(status: number): boolean {
  return status === 403 || (status >= 500 && status !== 503 && status !== 504);
}
