/** Who calls is not known, or may not do what the request asks for. */
import type { RelayError } from "./relay_error.ts";

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

/** A page of another site had its user's browser send a request that may change something. */
export const crossSiteRefused: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "cross_site",
  message: "the request comes from another site's page and has no caller token",
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

/** The request asks to act for somebody else, and the cluster's entry does not say what to do then. */
export function impersonationNotAllowed(cluster: string): RelayError {
  return notAllowedFor(`cluster ${cluster}`);
}

/** The request asks to act for somebody else, and the service does not say what to do then. */
export function serviceImpersonationNotAllowed(service: string): RelayError {
  return notAllowedFor(`service ${service}`);
}

function notAllowedFor(destination: string): RelayError {
  return {
    status: 403,
    reason: "Forbidden",
    code: "impersonation_not_allowed",
    message: "the request has Impersonate-* headers (kubectl --as), which the relay refuses for " +
      `${destination}: its entry can say "impersonation": "forward" or "strip"`,
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

/** A caller says that it is a relay, and is none. */
export const forbiddenHop: RelayError = {
  status: 403,
  reason: "Forbidden",
  code: "forbidden_hop",
  message: "the request has header fields that only relays may send",
};
