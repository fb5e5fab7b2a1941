/** Events of entries and agents, and all there is for those who begin to watch. */
import { entryKinds } from "../domain/admin.ts";
import type { Relay } from "../relay/relay.ts";
import type { Configuration } from "./configuration.ts";
import type { AdminEntries } from "./entries.ts";
import type { AdminEvent, EventLog } from "./event_log.ts";
import { listed } from "./operations.ts";
import type { AgentObject } from "./other_agents.ts";
import type { Scope } from "./scope.ts";
import { agentJson } from "./status_json.ts";

/** Writes each change of an entry down. */
export function watchEntries(entries: AdminEntries, log: EventLog): void {
  entries.onChanged = (kind, _name, { before, after }) => {
    if (before && after && before.etag === after.etag) return;
    if (before && after) {
      const [was, object] = [before, after].map(({ stored }) => listed(stored));
      return log.add({ type: "MODIFIED", kind, object: object!, before: was! });
    }
    const type = after ? "ADDED" : "DELETED";
    log.add({ type, kind, object: listed((after ?? before)!.stored) });
  };
}

/** Tells which agents come and go. */
export function watchAgents(relay: Relay, tell: (event: AdminEvent) => void): void {
  relay.registry.onChanged = (change, registration) => {
    const object = agentJson(relay.status.agent(registration));
    tell({ type: change === "added" ? "ADDED" : "DELETED", kind: "agents", object });
  };
}

/** The agents of this process. */
export function agentsOf({ status }: Relay): AgentObject[] {
  return status.now().clusters.flatMap((cluster) => cluster.agents.map(agentJson));
}

/** What a snapshot consists of. */
export interface SnapshotParts {
  readonly entries: AdminEntries;
  readonly configuration: Configuration;
  /** All agents of this relay. */
  readonly agents: readonly AgentObject[];
}

/** Everything that somebody may see. */
export function snapshotOf(
  { entries, configuration, agents }: SnapshotParts,
  scope: Scope,
): AdminEvent[] {
  const all = entryKinds.flatMap((kind) => {
    const own = [...entries.list(kind)].filter(({ stored }) =>
      !configuration.has(kind, stored.name)
    );
    const objects = [...configuration.entries(kind), ...own.map(({ stored }) => listed(stored))];
    return objects.map((object) => ({ type: "ADDED", kind, object } as const));
  });
  const sessions = agents.map((object) => ({ type: "ADDED", kind: "agents", object } as const));
  return [...all, ...sessions].filter((event) => scope.sees(event.kind, event.object));
}
