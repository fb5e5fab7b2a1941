/**
 * Routes that depend on what can't be read now: a CA, a credential, their namespace. What agents and the
 * relay have of them stays as it is, however long that takes; other routes are not concerned.
 */
import type { PathTarget } from "../../domain/target.ts";
import type { KubeObject } from "../../kube/objects.ts";
import type { BindingStatus } from "../api/tunnel_binding.ts";
import { type AskingRoute, mainHostname, targetBehind } from "./route_groups.ts";
import type { Digest } from "../digest.ts";
import type { Target, TunnelTable } from "./route_table.ts";

/** What a route may have been called as a target and as a service, alone or with others. */
export function namesOfHeld(route: AskingRoute, tunnelKey: string, digest: Digest): string[] {
  const { id, spec, object } = route;
  const { registered = [] } = (object["status"] ?? {}) as BindingStatus;
  const hostname = mainHostname(spec.hostnames);
  const services = registered.filter((it) => it.tunnel === tunnelKey && it.hostname === hostname)
    .map(({ service }) => service);
  return [...new Set([id, targetBehind(route, id, { digest }), ...services])];
}

/**
 * A table with what agents have of held routes.
 *
 * @param there The ConfigMap that they have; undefined where there is none.
 */
export function withHeld(table: TunnelTable, there: KubeObject | undefined): TunnelTable {
  if (table.held.size === 0 || !there) return table;
  const data = (there["data"] ?? {}) as Readonly<Record<string, string>>;
  const kept = targetsIn(data["targets.yaml"]).filter(({ name }) => table.held.has(name));
  const files = new Map(table.files);
  for (const target of kept) {
    const file = "tls" in target ? target.tls?.ca?.split("/").at(-1) : undefined;
    const text = file === undefined ? undefined : data[file];
    if (text !== undefined) files.set(file!, text);
  }
  const targets = [...table.targets, ...kept].sort((one, other) => one.name < other.name ? -1 : 1);
  return { ...table, files, targets };
}

/** As {@link targetsText} has written them; none if somebody has made something else of them. */
function targetsIn(text: string | undefined): readonly (Target | PathTarget)[] {
  try {
    const { targets } = JSON.parse(text ?? "");
    return Array.isArray(targets) ? targets : [];
  } catch {
    return [];
  }
}
