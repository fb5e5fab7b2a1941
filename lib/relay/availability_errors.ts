/** The relay, an agent or a target can't do what the request asks for. */
import type { RelayError } from "./relay_error.ts";

/** A relay that lacks a setting, or has a wrong one; `message` says which. */
export function notConfigured(message: string): RelayError {
  return { status: 503, reason: "Service Unavailable", code: "not_configured", message };
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

/** The audit log can't be written, and nothing is done that is not recorded. */
export const auditUnavailable: RelayError = {
  status: 503,
  reason: "Service Unavailable",
  code: "audit",
  message: "the relay can't record the request",
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

/** The answer to a relay that believed a session to be here. */
export const notHere: RelayError = {
  status: 421,
  reason: "Misdirected Request",
  code: "not_here",
  message: "this relay holds no session of the cluster",
};

/** The relay that holds the agent's session would send the request on without its caller's identity. */
export const relayCannotImpersonate: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "relay_cannot_impersonate",
  message: "the relay that holds the agent is too old to impersonate; upgrade all relays",
};

/** Unknown cluster or absent agent: a caller must not learn which (argocd-cluster-proxy). */
export const clusterNotAvailable: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "cluster_not_available",
  message: "cluster not available",
};

/** The service's agents are there, and none of them lists its target. */
export const targetNotAvailable: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "target_not_available",
  message: "the agent does not serve the target of this service",
};

/** An agent that does not speak what the service needs. */
export const kindNotSupported: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "kind_not_supported",
  message: "the agent serves the target with another kind of stream",
};

/** A cluster's entry or a service says whom callers stand for, and its agent would not impersonate them. */
export const cannotImpersonate: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "agent_cannot_impersonate",
  message: "the agent's target does not impersonate: it has no impersonate in the targets file, " +
    "or the agent is older",
};

/** The target stopped taking the request's body, or sending its answer's, or the caller taking that. */
export const transferTimeout: RelayError = {
  status: 504,
  reason: "Gateway Timeout",
  code: "idle_target",
  limit: "idle-timeout",
  message: "the target stopped reading the request's body",
};

/** The target has not answered in time. */
export const responseTimeout: RelayError = {
  status: 504,
  reason: "Gateway Timeout",
  code: "timeout",
  limit: "response-timeout",
  message: "the target did not respond in time",
};

/** The target's answer is not HTTP as it must be. */
export const badResponse: RelayError = {
  status: 502,
  reason: "Bad Gateway",
  code: "bad_response",
  message: "the target's response is not valid HTTP",
};
