/**
 * Routes that share their hostnames and are told apart by path. They are one service at the relay,
 * which has one target; the agent chooses among the routes' own targets by the path.
 */
import { type PathRule, pathRuleKey } from "../domain/path_rules.ts";
import type { PathTarget, TargetPath } from "../domain/target.ts";
import { keyOf } from "../kube/objects.ts";
import type { BindingStatus, RouteSpec } from "./api/tunnel_binding.ts";
import type { AskingRoute } from "./route_acceptance.ts";
import { type Digest, nameOf } from "./route_names.ts";
import type { Tunnel } from "./tunnels.ts";

/** Accepted routes with the same hostnames. */
export interface RouteGroup {
  readonly tunnel: Tunnel;
  /** The oldest first. */
  readonly members: readonly AskingRoute[];
}

/** How a route is published, alone or with others. */
export interface Publication {
  /** The service at the relay, and the target that it has: the id of the route that leads. */
  readonly service: string;
  /** The name of the leading route's own target where something chooses by path. */
  readonly leadTarget: string;
  /** Keys of the other bindings that have routes at these hostnames. */
  readonly others: readonly string[];
  /** Whether one of the routes has a target. */
  readonly isServed: boolean;
  /** What chooses by path, as the agents' targets file has it; absent for a route that is alone. */
  readonly choice?: PathTarget;
}

const wholePath: PathRule = { type: "Prefix", value: "/" };

/** Tells paths apart. */
export function keyOfPath({ path = wholePath }: RouteSpec): string {
  return pathRuleKey(path);
}

/** Whether the path of a request says where it goes. */
export function hasPaths({ members: [first, second] }: RouteGroup): boolean {
  return second !== undefined || keyOfPath(first!.spec) !== pathRuleKey(wholePath);
}

/** What a route says of its hostnames' service, as the relay's entry has it. */
export function serviceSettings(
  { provider, audience, host, responseHeaders }: RouteSpec,
): Readonly<Record<string, unknown>> {
  return {
    ...provider !== undefined && { provider },
    ...audience !== undefined && { audience },
    ...host === "target" && { host },
    ...responseHeaders && { headers: responseHeaders },
  };
}

/** Which routes have which hostnames. */
export class HostnameGroups {
  /** By relay and hostname. */
  readonly #groups = new Map<string, RouteGroup>();
  /** By tunnel. */
  readonly #pathGroups = new Map<string, number>();

  /** The first group that has one of the hostnames at the tunnel's relay. */
  find(
    tunnel: Tunnel,
    hostnames: readonly string[],
  ): { readonly hostname: string; readonly group: RouteGroup } | undefined {
    for (const hostname of hostnames) {
      const group = this.#groups.get(placeOf(tunnel, hostname));
      if (group) return { hostname, group };
    }
    return undefined;
  }

  /** How many targets of a tunnel choose by path. */
  pathGroupsOf({ key }: Tunnel): number {
    return this.#pathGroups.get(key) ?? 0;
  }

  /** Puts a group at its hostnames, in place of the one that it has grown from. */
  put(group: RouteGroup, before: RouteGroup | undefined): void {
    const { tunnel, members: [first] } = group;
    for (const hostname of first!.spec.hostnames) {
      this.#groups.set(placeOf(tunnel, hostname), group);
    }
    const more = Number(hasPaths(group)) - Number(before !== undefined && hasPaths(before));
    this.#pathGroups.set(tunnel.key, this.pathGroupsOf(tunnel) + more);
  }

  /** Each of them once. */
  all(): Iterable<RouteGroup> {
    return new Set(this.#groups.values());
  }
}

function placeOf({ spec }: Tunnel, hostname: string): string {
  const { registration, url } = spec!.relay;
  return `${registration.api?.endpoint ?? url} ${hostname}`;
}

/**
 * Publishes a group: says which route leads, and what chooses by path.
 *
 * What chooses has the leading route's id, so that the relay's service stays as it is while routes
 * join and leave. A route whose service is there already leads on.
 *
 * @param hasTarget Whether the route with this id has a target. Paths of one that has none lead
 *   nowhere, and not to another route.
 */
export function publicationOf(
  group: RouteGroup,
  hasTarget: (id: string) => boolean,
  digest: Digest,
): Publication {
  const { members } = group;
  const lead = members.find(isRegistered) ?? members[0]!;
  const { namespace = "", name } = lead.object.metadata;
  const leadTarget = nameOf([lead.id, namespace, name, lead.spec.name], digest);
  const paths = members.map(({ id, spec: { path = wholePath } }): TargetPath => ({
    ...path,
    ...hasTarget(id) && { target: id === lead.id ? leadTarget : id },
  }));
  const isServed = members.some(({ id }) => hasTarget(id));
  const keys = new Set(members.map(({ object }) => keyOf(object.metadata)));
  keys.delete(keyOf(lead.object.metadata));
  return {
    service: lead.id,
    leadTarget,
    others: [...keys],
    isServed,
    ...hasPaths(group) && isServed && { choice: { name: lead.id, kind: "http", paths } },
  };
}

function isRegistered({ id, object }: AskingRoute): boolean {
  const { registered = [] } = (object["status"] ?? {}) as BindingStatus;
  return registered.some(({ service }) => service === id);
}
