/**
 * Routes with the same hostnames and different paths. They share one service at the relay, which has one
 * target; the agent selects one of the routes' own targets by the path.
 */
import { type PathRule, pathRuleKey } from "../../domain/path_rules.ts";
import type { PathTarget, TargetPath } from "../../domain/target.ts";
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import type { RouteAccess } from "../access_policies/route_access.ts";
import type { BindingStatus, RouteSpec } from "../api/tunnel_binding.ts";
import type { Verdict } from "../conditions.ts";
import type { Digest } from "../digest.ts";
import { nameOf } from "./route_names.ts";
import { credentialsFolder, targetsFolder } from "./route_resolution.ts";
import type { Tunnel } from "../tunnel.ts";

/** A route that asks to be accepted. */
export interface AskingRoute {
  readonly spec: RouteSpec;
  readonly id: string;
  readonly object: KubeObject;
  readonly access?: RouteAccess | undefined;
  /** Why it can't be said now whether it is accepted: it has its hostnames until then. */
  readonly undecided?: Verdict | undefined;
}

/** Accepted routes with the same hostnames. */
export interface RouteGroup {
  readonly tunnel: Tunnel;
  /** The oldest first. */
  readonly members: readonly AskingRoute[];
}

/** How a route is published, alone or with others. */
export interface Publication {
  /** The service at the relay, and the name of the target that it has. */
  readonly service: string;
  /** The service's hostnames, in the order of its oldest route. */
  readonly hostnames: readonly string[];
  /** The key of the binding that has their DNS records. */
  readonly recordsOf: string;
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

/** What a tunnel's accepted routes add up to, whether or not their Services are there. */
export interface Totals {
  /** How many targets they need. */
  readonly targets: number;
  /** The most that they take in the targets file. */
  readonly bytes: number;
}

/** The most that a target which selects by path takes itself, with the entry for all other paths. */
const choiceBytes = 256;

/** The most that a route takes in the targets file, alone or with others of its hostname, in bytes. */
function bytesOf({ spec, id, object }: AskingRoute): number {
  const { backend: { service }, tls, authorization, path } = spec;
  const namespace = object.metadata.namespace ?? "";
  const target = {
    name: id,
    address: `${service.name}.${namespace}.svc:65535`,
    ...tls && { tls: { ...tls, ca: `${targetsFolder}/ca-${"0".repeat(16)}.crt` } },
    ...authorization && { credential: { ...authorization, file: `${credentialsFolder}/${id}` } },
  };
  const choice = { name: id, kind: "http", paths: [{ ...path ?? wholePath, target: id }] };
  const text = JSON.stringify({ targets: path ? [target, choice] : [target] }, undefined, 1);
  return new TextEncoder().encode(text).length;
}

/**
 * Which routes of a tunnel have which hostnames. Which tunnel has one, its relay decides, which knows
 * what their tokens are for: whoever may create a Tunnel can name any relay.
 */
export class HostnameGroups {
  /** The groups of routes, by tunnel and hostname. */
  readonly #groups = new Map<string, RouteGroup>();
  /** By tunnel. */
  readonly #totals = new Map<string, Totals>();
  /** The routes of all groups. */
  readonly #ids = new Set<string>();

  /** The first group of the tunnel that has one of the hostnames. */
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

  /** What a tunnel's routes add up to. */
  totalsOf({ key }: Tunnel): Totals {
    return this.#totals.get(key) ?? { targets: 0, bytes: 0 };
  }

  /** The same with a group that a route has joined, in place of the one that it has grown from. */
  totalsWith(group: RouteGroup, before: RouteGroup | undefined): Totals {
    const { targets, bytes } = this.totalsOf(group.tunnel);
    // A hostname with paths needs one more target, which selects by path.
    const more = Number(hasPaths(group)) - Number(before !== undefined && hasPaths(before));
    return {
      targets: targets + 1 + more,
      bytes: bytes + bytesOf(group.members.at(-1)!) + more * choiceBytes,
    };
  }

  /** Whether one of the groups has a route. */
  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Puts a group at its hostnames, in place of the one that it has grown from. */
  put(group: RouteGroup, totals: Totals): void {
    const { tunnel, members: [first] } = group;
    this.#ids.add(group.members.at(-1)!.id);
    for (const hostname of first!.spec.hostnames) {
      this.#groups.set(placeOf(tunnel, hostname), group);
    }
    this.#totals.set(tunnel.key, totals);
  }

  /** Each of them once. */
  all(): Iterable<RouteGroup> {
    return new Set(this.#groups.values());
  }
}

function placeOf({ key }: Tunnel, hostname: string): string {
  return `${key} ${hostname}`;
}

/** What the routes of a group are compiled with. */
export interface GroupContext {
  /** Whether the route with this id has a target. */
  readonly hasTarget: (id: string) => boolean;
  /** Whether an accepted route has this id. */
  readonly isAccepted: (id: string) => boolean;
  readonly digest: Digest;
}

/**
 * Publishes a group.
 *
 * Requests to the path of a route without a target get 404, not another route's target.
 */
export function publicationOf({ tunnel, members }: RouteGroup, context: GroupContext): Publication {
  const { hasTarget } = context;
  const [first] = members as [AskingRoute];
  const service = serviceOf(tunnel, members, context);
  const { hostnames } = first.spec;
  const isServed = members.some(({ id }) => hasTarget(id));
  const paths = members.map((route): TargetPath => ({
    ...route.spec.path ?? wholePath,
    ...hasTarget(route.id) && { target: targetBehind(route, service, context) },
  }));
  const withRecords = members.find(({ object }) =>
    statusOf(object).dns?.some(({ name }) => hostnames.includes(name))
  );
  return {
    service,
    hostnames,
    recordsOf: keyOf((withRecords ?? first).object.metadata),
    isServed,
    ...hasPaths({ tunnel, members }) && isServed &&
      { choice: { name: service, kind: "http" as const, paths } },
  };
}

/** The name of a route's own target where something chooses by path. */
export function targetBehind(
  { id, spec, object }: AskingRoute,
  service: string,
  { digest }: Pick<GroupContext, "digest">,
): string {
  const { namespace = "", name } = object.metadata;
  return id === service ? nameOf([id, namespace, name, spec.name], digest) : id;
}

/** The hostname by which a service is found in what bindings have at relays. */
export function mainHostname(hostnames: readonly string[]): string {
  return [...hostnames].sort()[0]!;
}

/**
 * The service of a group: one that is at the relay already stays, though the route that it was made
 * for may have gone, so that nothing of it ends when routes come and go.
 */
function serviceOf(
  { key }: Tunnel,
  members: readonly AskingRoute[],
  { isAccepted }: Pick<GroupContext, "isAccepted">,
): string {
  const [{ id: own, spec }] = members as [AskingRoute];
  const hostname = mainHostname(spec.hostnames);
  const isElsewhere = (service: string) =>
    isAccepted(service) && !members.some(({ id }) => id === service);
  for (const { id, object } of members) {
    const found = statusOf(object).registered?.find((it) =>
      it.tunnel === key &&
      (it.service === id || (it.hostname === hostname && !isElsewhere(it.service)))
    );
    if (found) return found.service;
  }
  return own;
}

function statusOf(object: KubeObject): BindingStatus {
  return (object["status"] ?? {}) as BindingStatus;
}
