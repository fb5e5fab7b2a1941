/** Sessions, streams and people's sessions as the API writes them; times are ISO 8601. */
import type { AgentStatus, StreamStatus } from "../domain/status.ts";
import type { PersonSession } from "../relay/signin/people_sessions.ts";

function time(ms: number): string {
  return new Date(ms).toISOString();
}

/** An agent's session. */
export function agentJson(agent: AgentStatus) {
  const { sinceMs, openStreams, windowStalls, isDraining, isSuspect, claims, ...rest } = agent;
  return {
    ...rest,
    since: time(sinceMs),
    streams: openStreams,
    stalls: windowStalls,
    draining: isDraining,
    suspect: isSuspect,
    hostnames: claims,
  };
}

/** A request or connection that is under way. */
export function streamJson({ sinceMs, ...rest }: StreamStatus) {
  return { ...rest, since: time(sinceMs) };
}

/** A person's session. */
export function personJson({ sinceMs, lastUsedMs, expiresMs, ...rest }: PersonSession) {
  return { ...rest, since: time(sinceMs), lastUsed: time(lastUsedMs), expires: time(expiresMs) };
}
