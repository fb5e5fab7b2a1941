/** Compiles what bindings ask for into the route table. */
import type { PathTarget } from "../../domain/target.ts";
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { type BindingSpec, bindingSpec, type RouteSpec } from "../api/tunnel_binding.ts";
import type { Digest } from "../digest.ts";
import { no, type Verdict, yes } from "../conditions.ts";
import { namesOfHeld } from "./held_routes.ts";
import { acceptRoute, namespaceUnreadable } from "./route_acceptance.ts";
import { readPolicy } from "../access_policies/read_policy.ts";
import { type AccessByBinding, accessFor, accessOf } from "../access_policies/route_access.ts";
import { HostnameGroups, publicationOf, targetBehind } from "./route_groups.ts";
import { type Backend, partsOf, resolve, type TargetTexts } from "./route_resolution.ts";
import { nameOf } from "./route_names.ts";
import { boundTunnelKey, idOf, type Tunnel } from "../tunnel.ts";
import type { RouteSources } from "./route_sources.ts";
import type {
  CompiledBinding,
  CompiledRoute,
  RouteTable,
  Target,
  TunnelTable,
} from "./route_table.ts";

/** Compiles all routes. Older bindings win over younger ones. */
export function compileRoutes(sources: RouteSources, digest: Digest): RouteTable {
  const bindings = new Map<string, CompiledBinding>();
  const tables = new Map<string, MutableTable>();
  for (const key of sources.tunnels.keys()) {
    tables.set(key, {
      ...{ targets: new Map(), choices: new Map(), backends: new Map() },
      ...{ files: new Map(), credentials: new Map(), held: new Set(), heldRoutes: new Set() },
    });
  }
  const groups = new HostnameGroups();
  const policies = byAge(sources.policies)
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map((policy) => readPolicy(policy, (path) => sources.callerToken(path)));
  const access = accessOf(policies);
  for (const object of byAge(sources.bindings)) {
    const compiled = compileBinding(object, { sources, digest, tables, groups, access });
    bindings.set(compiled.key, compiled);
  }
  const published = publish(groups, tables, digest);
  for (const [key, binding] of bindings) {
    const routes = binding.routes.map((route) =>
      route.accepted.status === "True" ? { ...route, ...published.get(route.id) } : route
    );
    bindings.set(key, { ...binding, routes });
  }
  const tunnels = [...tables].map(([key, table]): [string, TunnelTable] => [key, tableOf(table)]);
  return {
    bindings,
    tunnels: new Map(tunnels),
    policies: new Map(policies.map((policy) => [keyOf(policy.object.metadata), policy])),
  };
}

type Published = Pick<CompiledRoute, "publication" | "target">;

/** Publishes accepted routes, by their ids, and adds the targets with paths to the tables. */
function publish(
  groups: HostnameGroups,
  tables: ReadonlyMap<string, MutableTable>,
  digest: Digest,
): ReadonlyMap<string, Published> {
  const published = new Map<string, Published>();
  const accepted = new Set([...groups.all()].flatMap(({ members }) => members.map(({ id }) => id)));
  for (const group of groups.all()) {
    const { targets, choices, held, heldRoutes } = tables.get(group.tunnel.key)!;
    const context = {
      hasTarget: (id: string) => targets.has(id),
      isAccepted: (id: string) => accepted.has(id),
      digest,
    };
    // Routes of one hostname are chosen by one target.
    if (group.members.some(({ id }) => heldRoutes.has(id))) {
      for (const member of group.members) {
        for (const name of namesOfHeld(member, group.tunnel.key, digest)) held.add(name);
      }
    }
    const publication = publicationOf(group, context);
    const { choice, service } = publication;
    if (choice) choices.set(service, choice);
    for (const route of group.members) {
      const name = choice ? targetBehind(route, service, context) : service;
      const own = targets.get(route.id);
      const target = own && { ...own, name };
      if (target) targets.set(route.id, target);
      published.set(route.id, { publication, ...target && { target } });
    }
  }
  return published;
}

function tableOf(
  { targets, choices, backends, heldRoutes: _, ...rest }: MutableTable,
): TunnelTable {
  const all = [...targets.values(), ...choices.values()].filter(({ name }) => !rest.held.has(name));
  return {
    targets: all.sort((one, other) => one.name < other.name ? -1 : 1),
    backends: [...backends.keys()].sort().map((id) => backends.get(id)!),
    ...rest,
  };
}

interface MutableTable extends TargetTexts {
  /** The targets by the route's id. */
  readonly targets: Map<string, Target>;
  /** The targets that paths lead to, by the service's name. */
  readonly choices: Map<string, PathTarget>;
  /** The backends by the route's id. */
  readonly backends: Map<string, Backend>;
  /** The names that agents keep as they have them: {@link TunnelTable.held}. */
  readonly held: Set<string>;
  /** The ids of routes that can't be resolved or accepted now. */
  readonly heldRoutes: Set<string>;
}

interface Context {
  readonly sources: RouteSources;
  readonly digest: Digest;
  readonly tables: ReadonlyMap<string, MutableTable>;
  readonly groups: HostnameGroups;
  readonly access: AccessByBinding;
}

function byAge(bindings: Iterable<KubeObject>): KubeObject[] {
  const rank = ({ metadata }: KubeObject) => `${metadata.creationTimestamp} ${keyOf(metadata)}`;
  return [...bindings].sort((a, b) => rank(a) < rank(b) ? -1 : 1);
}

function compileBinding(object: KubeObject, context: Context): CompiledBinding {
  const key = keyOf(object.metadata);
  const spec = specOf(object);
  if (!spec || object.metadata.deletionTimestamp !== undefined) {
    return { key, object, spec, tunnel: undefined, routes: [] };
  }
  const tunnel = context.sources.tunnels.get(boundTunnelKey(object));
  const admission = admit(object, spec, tunnel, context.sources);
  const routes = spec.routes.map((route) =>
    compileRoute(route, { ...context, object, tunnel, admission })
  );
  return { key, object, spec, tunnel, routes };
}

/** What has been read of objects that are still there. */
const readSpecs = new WeakMap<object, { readonly spec: BindingSpec | undefined }>();

/** A binding's spec, read once for each version of the object. */
function specOf({ spec }: KubeObject): BindingSpec | undefined {
  if (typeof spec !== "object" || spec === null) return undefined;
  const known = readSpecs.get(spec);
  if (known) return known.spec;
  const { data } = bindingSpec.safeParse(spec);
  readSpecs.set(spec, { spec: data });
  return data;
}

/** Whether a binding may use its tunnel at all. */
function admit(
  { metadata: { namespace = "" } }: KubeObject,
  { tunnelRef }: BindingSpec,
  tunnel: Tunnel | undefined,
  sources: RouteSources,
): Verdict {
  if (!tunnel) {
    return no("TunnelNotFound", `There is no ${tunnelRef.kind} ${JSON.stringify(tunnelRef.name)}`);
  }
  if (!tunnel.spec) return no("TunnelInvalid", "The tunnel's spec can't be read");
  if (tunnel.isDeleted) return no("TunnelDeleted", "The tunnel is being deleted");
  const { namespaces, selector } = tunnel.spec.allowedBindings;
  const refused = no(
    "NotAllowedByTunnel",
    `The tunnel takes no bindings of namespace ${namespace} (allowedBindings.namespaces: ${namespaces})`,
  );
  if (namespaces === "All") return yes("Accepted");
  if (namespaces === "Same") return tunnel.home === namespace ? yes("Accepted") : refused;
  const found = sources.namespace(namespace);
  if (found === "unreadable") return namespaceUnreadable(namespace);
  const { labels = {} } = found === "absent" ? {} : found ?? {};
  const isSelected = Object.entries(selector?.matchLabels ?? {})
    .every(([label, value]) => labels[label] === value);
  return isSelected ? yes("Accepted") : refused;
}

interface RouteContext extends Context {
  readonly object: KubeObject;
  readonly tunnel: Tunnel | undefined;
  readonly admission: Verdict;
}

function compileRoute(spec: RouteSpec, context: RouteContext): CompiledRoute {
  const { tunnel, object, digest, sources, tables } = context;
  const { namespace = "", name } = object.metadata;
  const tunnelId = tunnel ? idOf(tunnel, sources.idPrefix) : "";
  const id = nameOf([tunnelId, namespace, name, spec.name], digest);
  const asked = accessFor(context.access, object, spec);
  const access = asked && { access: asked };
  const table = tunnel && tables.get(tunnel.key);
  const { groups, admission } = context;
  const accepted = acceptRoute({ spec, id, object, ...access }, {
    ...{ sources, groups, tunnel, admission },
    targets: table?.targets,
    held: [...table?.heldRoutes ?? []].filter((it) => !groups.has(it)).length,
  });
  const found = resolve(spec, { namespace, tunnel, table, sources });
  const resolved = "fault" in found ? found.fault : yes("ResolvedRefs");
  const isHeld = accepted.status !== "False" &&
    [accepted, resolved].some(({ status }) => status === "Unknown");
  if (isHeld && table) {
    const held = namesOfHeld({ spec, id, object }, tunnel.key, digest);
    table.heldRoutes.add(id);
    for (const name of held) table.held.add(name);
    if (found.backend) table.backends.set(id, found.backend);
    return { spec, id, accepted, resolved, held, ...access };
  }
  if (accepted.status !== "True" || "fault" in found || !table) {
    return { spec, id, accepted, resolved, ...access };
  }
  const target: Target = {
    name: id,
    address: found.address,
    ...spec.protocol === "tcp" && { kind: "tcp" as const },
    ...partsOf(spec, id, found, table, digest),
  };
  table.targets.set(id, target);
  table.backends.set(id, found.backend);
  return { spec, id, accepted, resolved, target, ...access };
}
