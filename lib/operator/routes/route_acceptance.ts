/** Which routes a tunnel accepts: hostnames that they may have, and that no older route has. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { hostnamesAnnotation } from "../api/schema.ts";
import type { TunnelSpec } from "../api/tunnel.ts";
import type { RouteSpec } from "../api/tunnel_binding.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import {
  type AskingRoute,
  type HostnameGroups,
  keyOfPath,
  type RouteGroup,
  serviceSettings,
} from "./route_groups.ts";
import type { Tunnel } from "../tunnel.ts";
import type { RouteSources } from "./route_sources.ts";

/** The maximum number of targets, as agents accept no more. */
const maxTargets = 1_000;
/** A ConfigMap has at most 1 MiB, half of which is for CAs. */
const maxTargetsBytes = 500 * 1_024;

/** The facts that decide about a route. */
export interface AcceptanceContext {
  readonly sources: Pick<RouteSources, "namespace">;
  readonly groups: HostnameGroups;
  readonly tunnel: Tunnel | undefined;
  /** Whether the tunnel takes the binding at all. */
  readonly admission: Verdict;
  /** The tunnel's targets, by name. */
  readonly targets: ReadonlyMap<string, unknown> | undefined;
  /** How many of the tunnel's routes stay as they are, may have targets, and are in no group. */
  readonly held: number;
}

/** Accepts a route, which then owns its hostnames, or its path of them. Older routes come first. */
export function acceptRoute(route: AskingRoute, context: AcceptanceContext): Verdict {
  const { tunnel, admission, groups, sources, targets } = context;
  if (admission.status === "False" || !tunnel?.spec || !targets) return admission;
  const { spec, id, object } = route;
  const outside = hostnameFault(spec, tunnel.spec, object.metadata, sources);
  if (outside !== undefined) return no("HostnameNotPermitted", outside);
  const found = groups.find(tunnel, spec.hostnames);
  const fault = found && sharingFault(route, tunnel, found);
  if (fault !== undefined) {
    const doubt = found!.group.members.find((other) => other.undecided)?.undecided;
    return doubt
      ? unknown(doubt.reason, `${fault}, if that is accepted: ${doubt.message}`)
      : no("Conflicted", fault);
  }
  if (targets.has(id)) {
    return no("Conflicted", "Another route has the same name; rename this one");
  }
  const before = found?.group;
  const undecided = undecidedOf(object.metadata, context);
  const group: RouteGroup = {
    tunnel,
    members: [...before?.members ?? [], { ...route, undecided }],
  };
  const totals = groups.totalsWith(group, before);
  if (totals.targets + context.held > maxTargets) {
    return no("TooManyRoutes", `A tunnel has at most ${maxTargets} routes`);
  }
  if (totals.bytes > maxTargetsBytes) {
    const most = `${maxTargetsBytes / 1_024} KiB`;
    return no("TooManyRoutes", `The agents' targets file would have more than ${most}`);
  }
  groups.put(group, totals);
  return undecided ?? yes("Accepted");
}

/** Why a namespace says nothing about its routes. */
export function namespaceUnreadable(namespace: string): Verdict {
  const message = `Namespace ${namespace} can't be read; what is published stays as it is`;
  return unknown("NamespaceUnreadable", message);
}

function undecidedOf(
  { namespace = "" }: KubeObject["metadata"],
  { admission, sources }: AcceptanceContext,
): Verdict | undefined {
  if (admission.status === "Unknown") return admission;
  return sources.namespace(namespace) === "unreadable" ? namespaceUnreadable(namespace) : undefined;
}

/** Why a route may not be at the hostnames of an older one. */
function sharingFault(
  route: AskingRoute,
  tunnel: Tunnel,
  { hostname, group }: { readonly hostname: string; readonly group: RouteGroup },
): string | undefined {
  const { spec, object } = route;
  const [first] = group.members as [AskingRoute];
  const twin = group.members.find((other) => keyOfPath(other.spec) === keyOfPath(spec));
  const isApart = first.object.metadata.namespace !== object.metadata.namespace ||
    [first.spec, spec].some(({ protocol }) => protocol === "tcp");
  if (twin || isApart) {
    const path = isApart ? "" : spec.path?.value ?? "";
    return `${hostname}${path} belongs to ${titleOf(twin ?? first)}, which is older`;
  }
  const one = sharedSettings(first, tunnel);
  const theirs = sharedSettings(route, tunnel);
  const other = Object.keys({ ...one, ...theirs })
    .find((key) => JSON.stringify(one[key]) !== JSON.stringify(theirs[key]));
  return other &&
    `${hostname} belongs to ${titleOf(first)}, which has other ${other}: ` +
      "routes of one hostname must have the same";
}

/** Settings that the relay has for a hostname as a whole. */
function sharedSettings(
  { spec, access }: AskingRoute,
  { spec: tunnel }: Tunnel,
): Readonly<Record<string, unknown>> {
  // A route's own policy counts where AccessPolicies have no rules.
  const hasRules = access !== undefined && access.rules.length > 0;
  return {
    hostnames: [...spec.hostnames].sort(),
    AccessPolicies: access,
    ...!hasRules && { policy: spec.policy ?? tunnel?.defaultPolicy },
    ...serviceSettings(spec),
  };
}

function titleOf({ spec, object }: AskingRoute): string {
  return `route ${spec.name} of TunnelBinding ${keyOf(object.metadata)}`;
}

/** Why the tunnel or the namespace does not permit one of a route's hostnames. */
function hostnameFault(
  { hostnames }: RouteSpec,
  { allowedBindings: { hostnames: ofTunnel } }: TunnelSpec,
  { namespace = "" }: KubeObject["metadata"],
  sources: Pick<RouteSources, "namespace">,
): string | undefined {
  const outside = ofTunnel && hostnames.find((name) => !isPermitted(name, ofTunnel));
  if (outside !== undefined) {
    return `${outside} is none of the tunnel's allowedBindings.hostnames: ${ofTunnel!.join(", ")}`;
  }
  const found = sources.namespace(namespace);
  // What can't be read is decided later.
  if (found === "unreadable") return undefined;
  if (found === "absent") return `There is no namespace ${namespace}`;
  const text = found?.annotations?.[hostnamesAnnotation];
  const ofNamespace = text?.split(",").map((pattern) => pattern.trim());
  const foreign = ofNamespace && hostnames.find((name) => !isPermitted(name, ofNamespace));
  return foreign === undefined
    ? undefined
    : `${foreign} is none of the hostnames of namespace ${namespace}: ${text}`;
}

/** `*.example.com` permits every name below example.com, and wildcards for parts of it. */
function isPermitted(hostname: string, permitted: readonly string[]): boolean {
  return permitted.some((pattern) =>
    pattern === hostname || (pattern.startsWith("*.") && hostname.endsWith(pattern.slice(1)))
  );
}
