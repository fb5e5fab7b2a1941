/** Whether a relay is ready for requests: what `/readyz` answers. */
import type { Registry } from "./agents/registry.ts";
import type { Directory } from "./directory/directory.ts";

/** What readiness depends on. */
export interface ReadinessFacts {
  readonly isStopping: boolean;
  /** Undefined for a relay on its own. */
  readonly directory?: {
    /** It has answered once. */
    readonly isSettled: boolean;
    readonly isUp: boolean;
  } | undefined;
  readonly agents: number;
  /** Whether one of the agents takes requests. */
  readonly hasServingAgent: boolean;
}

/** A relay, as far as it matters here. */
interface ReadyRelay {
  readonly isStopping: boolean;
  /** Undefined for a relay on its own. */
  readonly peers: { readonly directory: Pick<Directory, "isSettled" | "isUp"> } | undefined;
  readonly registry: Pick<Registry, "size" | "isReady">;
}

/** What `/readyz` answers. */
export interface Readiness {
  readonly status: 200 | 503;
  readonly text: string;
}

/** What a relay's readiness depends on, now. */
export function readinessFacts({ isStopping, peers, registry }: ReadyRelay): ReadinessFacts {
  return {
    isStopping,
    directory: peers && { isSettled: peers.directory.isSettled, isUp: peers.directory.isUp },
    agents: registry.size,
    hasServingAgent: registry.isReady,
  };
}

/** @param excludesAgents Whether a relay without an agent may be ready */
export function readinessOf(
  { isStopping, directory, agents, hasServingAgent }: ReadinessFacts,
  excludesAgents: boolean,
): Readiness {
  if (isStopping) return notReady("the relay is shutting down");
  // A moment later it can serve what others hold; if the directory is unavailable, it need not wait for it.
  if (directory?.isSettled === false) return notReady("the directory has not answered yet");
  // Who decides whether agents may come here must not wait for one: they would never come.
  if (excludesAgents) return { status: 200, text: "ok" };
  // With a directory it serves what other relays hold, too.
  if (!directory?.isUp) {
    if (agents === 0) return notReady("no agent is connected");
    if (!hasServingAgent) return notReady("all agents are draining");
  }
  // What this relay holds it still serves: to take it away would only make things worse.
  if (directory && !directory.isUp) {
    return { status: 200, text: "ok, but the directory is unavailable\n" };
  }
  return { status: 200, text: "ok" };
}

function notReady(why: string): Readiness {
  return { status: 503, text: `${why}\n` };
}

/** Processes that are one relay, as its probes and metrics need them. */
export interface WholeRelay {
  readiness(excludesAgents: boolean): Promise<Readiness>;
  /** The metrics in Prometheus' text format. */
  metrics(): Promise<string>;
}
