/** Events of entries and agents, and all there is for those who begin to watch. */
import { entryKinds } from "../domain/admin.ts";
import type { Relay } from "../relay/relay.ts";
import type { Configuration } from "./configuration.ts";
import type { AdminEntries } from "./entries.ts";
import type { AdminEvent, EventLog } from "./event_log.ts";
import { shown } from "./operations.ts";
import type { Scope } from "./scope.ts";
import { agentJson } from "./status_json.ts";

/** Writes each change of an entry down. */
export function watchEntries(entries: AdminEntries, log: EventLog): void {
  entries.onChanged = (kind, _name, { before, after }) => {
    if (before && after && before.etag === after.etag) return;
    const type = !after ? "DELETED" : before ? "MODIFIED" : "ADDED";
    log.add({ type, kind, object: shown((after ?? before)!.stored) });
  };
}

/** Writes down which agents come and go. */
export function watchAgents(relay: Relay, log: EventLog): void {
  relay.registry.onChanged = (change, registration) => {
    const object = agentJson(relay.status.agent(registration));
    log.add({ type: change === "added" ? "ADDED" : "DELETED", kind: "agents", object });
  };
}

/** Everything that somebody may see. */
export function snapshotOf(
  { status }: Relay,
  entries: AdminEntries,
  configuration: Configuration,
  scope: Scope,
): AdminEvent[] {
  const all = entryKinds.flatMap((kind) => {
    const own = [...entries.list(kind)].filter(({ stored }) =>
      !configuration.has(kind, stored.name)
    );
    const objects = [...configuration.entries(kind), ...own.map(({ stored }) => shown(stored))];
    return objects.map((object) => ({ type: "ADDED", kind, object } as const));
  });
  const agents = status.now().clusters.flatMap((cluster) => cluster.agents.map(agentJson))
    .map((object) => ({ type: "ADDED", kind: "agents", object } as const));
  return [...all, ...agents].filter((event) => scope.sees(event.kind, event.object));
}
