/**
 * The route table: what bindings ask for, compiled into the targets of each tunnel's agents and the
 * services at its relay. Another source of routes would be compiled into the same table.
 */
import { keyOf, type KubeObject } from "../kube/objects.ts";
import { hostnamesAnnotation } from "./api/schema.ts";
import type { TunnelSpec } from "./api/tunnel.ts";
import { type BindingSpec, bindingSpec, type RouteSpec } from "./api/tunnel_binding.ts";
import { no, type Verdict, yes } from "./conditions.ts";
import { type AccessByBinding, accessFor, accessOf, type RouteAccess } from "./route_access.ts";
import {
  type Backend,
  type BackendSources,
  partsOf,
  resolve,
  type TargetCredential,
  type TargetTexts,
  type TargetTls,
} from "./route_resolution.ts";
import { idOf, type Tunnel } from "./tunnels.ts";

/** What routes are compiled from. */
export interface RouteSources extends BackendSources {
  readonly tunnels: ReadonlyMap<string, Tunnel>;
  readonly bindings: Iterable<KubeObject>;
  readonly policies: Iterable<KubeObject>;
  /** Labels and annotations of a namespace; undefined when they are not known. */
  namespace(name: string): Pick<KubeObject["metadata"], "labels" | "annotations"> | undefined;
  readonly idPrefix: string;
}

/** One target, as the agent's targets file has it. */
export interface Target {
  readonly name: string;
  readonly address: string;
  readonly kind?: "tcp";
  readonly tls?: TargetTls;
  readonly credential?: TargetCredential;
}

/** What became of one route. */
export interface CompiledRoute {
  readonly spec: RouteSpec;
  /** Its name as a target and as a service at the relay. */
  readonly id: string;
  readonly accepted: Verdict;
  readonly resolved: Verdict;
  readonly target?: Target;
  /** What AccessPolicies say of it; undefined where there is none. */
  readonly access?: RouteAccess | undefined;
}

/** What became of one binding. */
export interface CompiledBinding {
  readonly key: string;
  readonly object: KubeObject;
  readonly spec: BindingSpec | undefined;
  readonly tunnel: Tunnel | undefined;
  readonly routes: readonly CompiledRoute[];
}

/** What one tunnel's agents serve. */
export interface TunnelTable {
  readonly targets: readonly Target[];
  /** What the targets lead to, in the targets' order. */
  readonly backends: readonly Backend[];
  /** Files beside the targets file, by name. */
  readonly files: ReadonlyMap<string, string>;
  /** Credentials of targets, by the names of their files; they are in no other object than a Secret. */
  readonly credentials: ReadonlyMap<string, string>;
}

/** Nothing is served. */
export const emptyTable: TunnelTable = {
  targets: [],
  backends: [],
  files: new Map(),
  credentials: new Map(),
};

/** Everything compiled. */
export interface RouteTable {
  readonly bindings: ReadonlyMap<string, CompiledBinding>;
  readonly tunnels: ReadonlyMap<string, TunnelTable>;
}

/** As many as an agent takes. */
export const maxTargets = 1_000;

/** Digests names and texts. */
export type Digest = (text: string) => string;

/** Compiles all routes. Older bindings win over younger ones. */
export function compileRoutes(sources: RouteSources, digest: Digest): RouteTable {
  const bindings = new Map<string, CompiledBinding>();
  const tables = new Map<string, MutableTable>();
  for (const key of sources.tunnels.keys()) {
    tables.set(key, {
      ...{ targets: new Map(), backends: new Map() },
      ...{ files: new Map(), credentials: new Map() },
    });
  }
  const taken: Taken = { hostnames: new Map() };
  const access = accessOf(byAge(sources.policies));
  for (const object of byAge(sources.bindings)) {
    const compiled = compileBinding(object, { sources, digest, tables, taken, access });
    bindings.set(compiled.key, compiled);
  }
  const tunnels = [...tables].map(([key, table]): [string, TunnelTable] => [key, tableOf(table)]);
  return { bindings, tunnels: new Map(tunnels) };
}

function tableOf({ targets, backends, ...rest }: MutableTable): TunnelTable {
  const names = [...targets.keys()].sort();
  return {
    targets: names.map((name) => targets.get(name)!),
    backends: names.map((name) => backends.get(name)!),
    ...rest,
  };
}

interface MutableTable extends TargetTexts {
  readonly targets: Map<string, Target>;
  /** By the target's name. */
  readonly backends: Map<string, Backend>;
}

/** What older routes have. */
interface Taken {
  /** By relay and hostname: the binding that has it. */
  readonly hostnames: Map<string, string>;
}

interface Context {
  readonly sources: RouteSources;
  readonly digest: Digest;
  readonly tables: ReadonlyMap<string, MutableTable>;
  readonly taken: Taken;
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
  const tunnel = context.sources.tunnels.get(tunnelOf(spec, object));
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

function tunnelOf({ tunnelRef }: BindingSpec, { metadata }: KubeObject): string {
  return tunnelRef.kind === "ClusterTunnel"
    ? `ClusterTunnel/${tunnelRef.name}`
    : `Tunnel/${tunnelRef.namespace ?? metadata.namespace}/${tunnelRef.name}`;
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
  const labels = sources.namespace(namespace)?.labels ?? {};
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
  const asked = accessFor(context.access, keyOf(object.metadata), spec.name);
  const access = asked && { access: asked };
  const accepted = acceptRoute(spec, id, context);
  const table = tunnel && tables.get(tunnel.key);
  const found = resolve(spec, { namespace, tunnel, table, sources });
  const resolved = "fault" in found ? found.fault : yes("ResolvedRefs");
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

function acceptRoute(spec: RouteSpec, id: string, context: RouteContext): Verdict {
  const { tunnel, admission, object, taken, tables } = context;
  if (admission.status !== "True" || !tunnel?.spec) return admission;
  const outside = hostnameFault(spec, tunnel.spec, object.metadata, context.sources);
  if (outside !== undefined) return no("HostnameNotPermitted", outside);
  const own = keyOf(object.metadata);
  const scope = tunnel.spec.relay.registration.api?.endpoint ?? tunnel.spec.relay.url;
  for (const hostname of spec.hostnames) {
    const holder = taken.hostnames.get(`${scope} ${hostname}`);
    if (holder === undefined) continue;
    return no("Conflicted", `${hostname} belongs to route ${holder}, which is older`);
  }
  const { targets } = tables.get(tunnel.key)!;
  if (targets.has(id)) {
    return no("Conflicted", "Another route has the same name; rename this one");
  }
  if (targets.size >= maxTargets) {
    return no("TooManyRoutes", `A tunnel has at most ${maxTargets} routes`);
  }
  for (const hostname of spec.hostnames) {
    taken.hostnames.set(`${scope} ${hostname}`, `${spec.name} of TunnelBinding ${own}`);
  }
  return yes("Accepted");
}

/** Why a route may not have one of its hostnames: its tunnel says so, or its namespace. */
function hostnameFault(
  { hostnames }: RouteSpec,
  { allowedBindings: { hostnames: ofTunnel } }: TunnelSpec,
  { namespace = "" }: KubeObject["metadata"],
  sources: RouteSources,
): string | undefined {
  const outside = ofTunnel && hostnames.find((name) => !isPermitted(name, ofTunnel));
  if (outside !== undefined) {
    return `${outside} is none of the tunnel's allowedBindings.hostnames: ${ofTunnel!.join(", ")}`;
  }
  const text = sources.namespace(namespace)?.annotations?.[hostnamesAnnotation];
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

const maxNameCharacters = 63;
const digestCharacters = 16;

/** A name for people with a digest for uniqueness. */
function nameOf([tunnel = "", ...parts]: readonly string[], digest: Digest): string {
  const suffix = digest(JSON.stringify([tunnel, ...parts])).slice(0, digestCharacters);
  const readable = parts.join("-").replaceAll(".", "-")
    .slice(0, maxNameCharacters - digestCharacters - 1).replace(/-+$/, "");
  return `${readable}-${suffix}`;
}

/** The text of the targets file. */
export function targetsText({ targets }: Pick<TunnelTable, "targets">): string {
  return `${JSON.stringify({ targets }, undefined, 1)}\n`;
}
