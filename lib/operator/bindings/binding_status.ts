/** What a binding's status says of its routes. */
import type { KubeObject } from "../../kube/objects.ts";
import { bindingSpec, type BindingStatus, type RouteSpec } from "../api/tunnel_binding.ts";
import { conditionsOf, no, readyOf, unknown, type Verdict, yes } from "../conditions.ts";
import { ownRecords } from "../dns/kept_records.ts";
import type { CompiledBinding, CompiledRoute } from "../routes/route_table.ts";
import type { Tunnel } from "../tunnel.ts";

/** Whether all agents of a tunnel serve a target as it is. */
export type Serves = (tunnelKey: string, target: unknown) => boolean;

/** Routes with their conditions, and the same summed up. */
export interface RoutesStatus {
  readonly routes: NonNullable<BindingStatus["routes"]>;
  readonly summary: Readonly<Record<"Accepted" | "ResolvedRefs" | "Programmed", Verdict>>;
}

/** A binding's status; empty before the first. Records that are not its own are left out. */
export function statusOf(object: KubeObject): BindingStatus {
  const status = (object["status"] ?? {}) as BindingStatus;
  return status.dns ? { ...status, dns: ownRecords(object) } : status;
}

/** Why a binding can't be worked on: its CRD is of another version. */
export function unreadableVerdict({ spec }: KubeObject): Verdict {
  const [issue] = bindingSpec.safeParse(spec).error?.issues ?? [];
  return no("InvalidSpec", `The spec can't be read: ${issue?.path.join(".")} ${issue?.message}`);
}

/** @param verdicts By the route's name: what came of it at the relay. */
export function routesStatus(
  { object, routes: compiled, tunnel }: CompiledBinding,
  before: BindingStatus,
  verdicts: ReadonlyMap<string, Verdict>,
  serves: Serves,
): RoutesStatus {
  const { generation } = object.metadata;
  const routes = compiled.map((route) => {
    const { spec, accepted, resolved } = route;
    const programmed = programmedOf(route, tunnel, verdicts.get(spec.name), serves);
    const known = before.routes?.find(({ name }) => name === spec.name);
    const all = { Accepted: accepted, ResolvedRefs: resolved, Programmed: programmed };
    return {
      name: spec.name,
      urls: spec.hostnames.map((hostname) => urlOf(spec, hostname)),
      conditions: conditionsOf(all, known?.conditions, generation),
      all,
    };
  });
  const summary = (type: "Accepted" | "ResolvedRefs" | "Programmed"): Verdict => {
    const verdicts = Object.fromEntries(routes.map(({ name, all }) => [name, all[type]]));
    const { status, reason, message } = readyOf(verdicts);
    return status === "True" ? yes(type) : { status, reason, message };
  };
  return {
    routes: routes.map(({ all: _, ...route }) => route),
    summary: {
      Accepted: summary("Accepted"),
      ResolvedRefs: summary("ResolvedRefs"),
      Programmed: summary("Programmed"),
    },
  };
}

/** Programmed is a route that the relay publishes and all agents serve. */
function programmedOf(
  route: CompiledRoute,
  tunnel: Tunnel | undefined,
  verdict: Verdict | undefined,
  serves: Serves,
): Verdict {
  if (verdict === undefined) return unknown("Pending", "The relay has not been asked yet");
  if (verdict.status !== "True" || !route.target || !tunnel) return verdict;
  return servesRoute(route, tunnel, serves)
    ? verdict
    : unknown("Programming", "The agents have not taken the route yet");
}

/** Whether all agents of a tunnel serve a route: its target, and what chooses it. */
export function servesRoute(
  { target, publication }: CompiledRoute,
  { key }: Tunnel,
  serves: Serves,
): boolean {
  const { choice } = publication ?? {};
  return target !== undefined && serves(key, target) && (!choice || serves(key, choice));
}

function urlOf({ protocol, path }: RouteSpec, hostname: string): string {
  return protocol === "tcp" ? `tcp://${hostname}` : `https://${hostname}${path?.value ?? "/"}`;
}
