/** The relay does not take a request as it is, whoever sends it. */
import { allowedMethods } from "../http1/methods.ts";
import type { RelayError } from "./relay_error.ts";

/** The request names a host that is not the relay's. */
export const otherHost: RelayError = {
  status: 421,
  reason: "Misdirected Request",
  code: "other_host",
  message: "the relay does not accept this host: --hosts lists its names",
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

/** A path of the internal listener under which there is nothing, as when `/tunnel/` was forgotten. */
export const noSuchPath: RelayError = {
  status: 404,
  reason: "Not Found",
  code: "no_such_path",
  message: "the relay has nothing at this path: a cluster is at /tunnel/CLUSTER",
};

/** A path that is culvert's own and at which it has nothing. */
export const noSuchOwnPath: RelayError = {
  status: 404,
  reason: "Not Found",
  code: "no_such_path",
  message: "paths below /.culvert/ are culvert's own, and there is nothing at this one",
};

/** TRACE and its like: the answer would show the caller what the agent adds for the target. */
export const methodRefused: RelayError = {
  status: 405,
  reason: "Method Not Allowed",
  code: "method_not_allowed",
  message: "the relay does not forward TRACE: its response would contain the agent's credential",
  allow: allowedMethods,
};

/** A method that one of culvert's own paths does not have. */
export const methodNotAllowed: RelayError = {
  status: 405,
  reason: "Method Not Allowed",
  code: "get_only",
  message: "this path accepts only GET",
  allow: "GET, HEAD",
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

/** A service that speaks no HTTP: its bytes go through a WebSocket, or a port of the relay. */
export const upgradeToTcp: RelayError = {
  status: 426,
  reason: "Upgrade Required",
  code: "not_http",
  message: "this service does not speak HTTP: connect with culvert's access client",
  upgrade: "websocket",
};

/** A WebSocket of another protocol than the one that carries TCP. */
export const badTcpHandshake: RelayError = {
  status: 400,
  reason: "Bad Request",
  code: "bad_handshake",
  message: "the WebSocket handshake must have version 13 and offer the subprotocol culvert.tcp.v1",
};

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

/** The caller stopped sending its request's body. */
export const bodyTimeout: RelayError = {
  status: 408,
  reason: "Request Timeout",
  code: "idle",
  limit: "idle-timeout",
  message: "the request's body stalled",
};

/** The request's body is over the relay's limit. */
export const bodyTooLarge: RelayError = {
  status: 413,
  reason: "Content Too Large",
  code: "body_limit",
  limit: "max-body-bytes",
  message: "the request's body exceeds the relay's limit",
};
