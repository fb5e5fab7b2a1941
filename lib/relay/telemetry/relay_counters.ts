/** What a relay counts in all, whichever cluster or service it is about. */
import type { Instruments } from "../../instruments.ts";

/** The counters of one relay. */
export type RelayCounters = ReturnType<typeof relayCounters>;

/** Makes the counters of a relay. */
export function relayCounters(instruments: Instruments) {
  return {
    authFailures: instruments.counter(
      "auth_failures_total",
      "Refused credentials, by endpoint.",
      "endpoint",
    ),
    authSlowed: instruments.counter(
      "auth_failures_slowed_total",
      "Refused credentials of addresses that had failed before: late answers and 429.",
      "endpoint",
    ),
    refused: instruments.counter(
      "proxy_refused_requests_total",
      "Requests that were not valid HTTP, or for a host that no service has, by status.",
      "reason",
    ),
    rateLimited: instruments.counter(
      "proxy_rate_limited_total",
      "Requests that met the relay's rate limit.",
    ),
    limitHits: instruments.counter(
      "culvert_limit_hits_total",
      "Times that a limit was met, by the name of its option.",
      "limit",
    ),
    callersDenied: instruments.counter(
      "culvert_callers_denied_total",
      "Requests of callers that were not let in, by reason.",
      "reason",
    ),
    callerKeys: instruments.counter(
      "culvert_caller_keys_fetches_total",
      "Attempts to fetch the keys of callers' issuer, by result.",
      "result",
    ),
    callerKeysTime: instruments.gauge(
      "culvert_caller_keys_fetched_timestamp_seconds",
      "When the keys of callers' issuer were last fetched, in seconds since 1970; 0 for never.",
    ),
    auditFailures: instruments.counter(
      "culvert_audit_failures_total",
      "Audit records that could not be written.",
    ),
    sessionsEnded: instruments.counter(
      "tunnel_sessions_ended_total",
      "Agents' sessions that ended, by WebSocket close code.",
      "code",
    ),
    directoryErrors: instruments.counter(
      "culvert_directory_errors_total",
      "Requests to the directory that failed, and values in it that no relay writes.",
    ),
    lookups: instruments.counter(
      "culvert_directory_lookups_total",
      "Look-ups of the relays that hold a cluster's sessions, by result.",
      "result",
    ),
    hops: instruments.counter(
      "culvert_forwarded_requests_total",
      "Tries to have another relay answer a request, by result.",
      "result",
    ),
    handshakeFailures: instruments.counter(
      "culvert_tls_handshake_failures_total",
      "TLS handshakes with the relay's listeners that failed, by reason.",
      "reason",
    ),
    http2Abuse: instruments.counter(
      "culvert_http2_connections_ended_total",
      "HTTP/2 connections of the web listener that the relay ended because of what their client did.",
      "reason",
    ),
    proxyHeaders: instruments.counter(
      "culvert_proxy_headers_refused_total",
      "Connections of trusted proxies without a valid PROXY header, by reason.",
      "reason",
    ),
    sessionEnds: instruments.counter(
      "culvert_session_ends_total",
      "Agents' sessions that ended, by reason.",
      "reason",
    ),
    retries: instruments.counter(
      "culvert_request_retries_total",
      "Requests that were sent through another session, by the reason why that was safe.",
      "reason",
    ),
  };
}
