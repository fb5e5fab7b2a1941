/**
 * The route table: what bindings ask for, compiled into the targets of each tunnel's agents and the
 * services at its relay. Another source of routes would be compiled into the same table.
 */
import { keyOf, type KubeObject } from "../kube/objects.ts";
import { type AccessPolicySpec, accessPolicySpec } from "./api/access_policy.ts";
import { hostnamesAnnotation } from "./api/schema.ts";
import type { TunnelSpec } from "./api/tunnel.ts";
import { type BindingSpec, bindingSpec, type RouteSpec } from "./api/tunnel_binding.ts";
import { no, type Verdict, yes } from "./conditions.ts";
import type { NamedText, TextPath } from "./named_texts.ts";
import { idOf, type Tunnel } from "./tunnels.ts";

/** What routes are compiled from. */
export interface RouteSources {
  readonly tunnels: ReadonlyMap<string, Tunnel>;
  readonly bindings: Iterable<KubeObject>;
  readonly policies: Iterable<KubeObject>;
  service(key: string): KubeObject | undefined;
  /** Labels and annotations of a namespace; undefined when they are not known. */
  namespace(name: string): Pick<KubeObject["metadata"], "labels" | "annotations"> | undefined;
  /** Text of a ConfigMap's key, or why there is none. */
  ca(path: TextPath): NamedText;
  /** Text of a Secret's key that routes may use, or why there is none. */
  credential(path: TextPath): NamedText;
  readonly idPrefix: string;
}

/** One target, as the agent's targets file has it. */
export interface Target {
  readonly name: string;
  readonly address: string;
  readonly kind?: "tcp";
  readonly tls?: { readonly ca?: string; readonly serverName?: string };
  readonly credential?: {
    readonly file: string;
    readonly header?: string;
    readonly scheme?: string;
  };
}

/** What became of one route. */
export interface CompiledRoute {
  readonly spec: RouteSpec;
  /** Its name as a target and as a service at the relay. */
  readonly id: string;
  readonly accepted: Verdict;
  readonly resolved: Verdict;
  readonly target?: Target;
  /** The rules of AccessPolicies, all of which a caller must meet; undefined where there is none. */
  readonly access?: readonly AccessRules[] | undefined;
}

/** Rules of one AccessPolicy: a caller must meet one of them. */
export interface AccessRules {
  readonly any: AccessPolicySpec["any"];
}

/** What became of one binding. */
export interface CompiledBinding {
  readonly key: string;
  readonly object: KubeObject;
  readonly spec: BindingSpec | undefined;
  readonly tunnel: Tunnel | undefined;
  readonly routes: readonly CompiledRoute[];
}

/** Where connections to a Service end: at ports of pods, as a NetworkPolicy sees them. */
export interface Backend {
  readonly namespace: string;
  /** Labels of the pods; undefined where the Service has no selector, so that its pods are not known. */
  readonly selector?: Readonly<Record<string, string>>;
  /** A port's number, or the name that containers give it. */
  readonly port: number | string;
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

/** Where the targets file and its CAs are in the agent's pod. */
export const targetsFolder = "/etc/culvert/targets";
/** Where the credentials of targets are. */
export const credentialsFolder = "/etc/culvert/credentials";

/** All credentials of a tunnel together, in characters: a Secret holds 1 MiB. */
const maxCredentialsCharacters = 512 * 1_024;

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
  const access = accessOf(sources.policies);
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

interface MutableTable {
  readonly targets: Map<string, Target>;
  /** By the target's name. */
  readonly backends: Map<string, Backend>;
  readonly files: Map<string, string>;
  readonly credentials: Map<string, string>;
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
  readonly access: ReadonlyMap<string, readonly RouteAccess[]>;
}

/** What one AccessPolicy says of a binding: of one route, or of all. */
interface RouteAccess extends AccessRules {
  readonly route: string | undefined;
}

/** AccessPolicies by the binding that they are about. */
function accessOf(policies: Iterable<KubeObject>): Map<string, RouteAccess[]> {
  const access = new Map<string, RouteAccess[]>();
  for (const { metadata, spec } of byAge(policies)) {
    const { success, data } = accessPolicySpec.safeParse(spec);
    if (!success || metadata.deletionTimestamp !== undefined) continue;
    for (const { name, route } of data.targetRefs) {
      const key = `${metadata.namespace}/${name}`;
      const list = access.get(key) ?? [];
      if (list.push({ route, any: data.any }) === 1) access.set(key, list);
    }
  }
  return access;
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
  const rules = (context.access.get(keyOf(object.metadata)) ?? [])
    .filter(({ route }) => route === undefined || route === spec.name)
    .map(({ any }): AccessRules => ({ any }));
  const access = rules.length > 0 && { access: rules };
  const accepted = acceptRoute(spec, id, context);
  const table = tunnel && tables.get(tunnel.key);
  const found = resolve(spec, { namespace, tunnel, table, sources });
  const resolved = "fault" in found ? found.fault : yes("ResolvedRefs");
  if (accepted.status !== "True" || "fault" in found || !table) {
    return { spec, id, accepted, resolved, ...access };
  }
  const tls = tlsOf(spec, found.caPem, table, digest);
  const credential = credentialOf(spec, id, found.credential, table);
  const target: Target = {
    name: id,
    address: found.address,
    ...spec.protocol === "tcp" && { kind: "tcp" as const },
    ...tls && { tls },
    ...credential && { credential },
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

type Resolution =
  | {
    readonly address: string;
    readonly backend: Backend;
    readonly caPem: string | undefined;
    readonly credential: string | undefined;
  }
  | { readonly fault: Verdict };

interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly protocol?: string;
  readonly targetPort?: number | string;
}

interface ResolutionContext {
  readonly namespace: string;
  readonly tunnel: Tunnel | undefined;
  readonly table: MutableTable | undefined;
  readonly sources: RouteSources;
}

function resolve(spec: RouteSpec, context: ResolutionContext): Resolution {
  const { namespace, sources } = context;
  const { name, port } = spec.backend.service;
  const service = sources.service(`${namespace}/${name}`);
  const backendNotFound = (what: string) => ({ fault: no("BackendNotFound", what) });
  if (!service) return backendNotFound(`There is no Service ${name} in namespace ${namespace}`);
  const { type, ports = [], clusterIP, selector } = (service["spec"] ?? {}) as {
    type?: string;
    ports?: readonly ServicePort[];
    clusterIP?: string;
    selector?: Readonly<Record<string, string>>;
  };
  const notPermitted = (what: string) => ({ fault: no("RefNotPermitted", what) });
  if (type === "ExternalName") {
    return notPermitted(`Service ${name} is of type ExternalName, which leads out of the cluster`);
  }
  if (namespace === "default" && name === "kubernetes") {
    return notPermitted("Service kubernetes is the API server; use the Tunnel's kubernetesApi");
  }
  const found = ports.find((it) => it.name === port || it.port === Number(port));
  if (!found) {
    const known = ports.map((it) => it.name ?? it.port).join(", ");
    return backendNotFound(`Service ${name} has no port ${port}; it has ${known || "none"}`);
  }
  if (found.protocol !== undefined && found.protocol !== "TCP") {
    return backendNotFound(`Port ${port} of Service ${name} is ${found.protocol}, not TCP`);
  }
  // A headless Service's name leads to its pods, where the target port counts.
  const isHeadless = clusterIP === "None";
  const number = isHeadless && typeof found.targetPort === "number" ? found.targetPort : found.port;
  const hasSelector = selector !== undefined && Object.keys(selector).length > 0;
  // A name of a port means nothing where there is no selector, and the pods' own port is dialed
  // where there is no address between.
  const isDirect = isHeadless || (!hasSelector && typeof found.targetPort === "string");
  const backend = {
    namespace,
    ...hasSelector && { selector },
    port: isDirect ? number : found.targetPort ?? number,
  };
  const caRef = spec.tls?.caRef;
  const ca = caRef && sources.ca({ namespace, ...caRef });
  if (ca && "fault" in ca) return ca;
  const credential = findCredential(spec, context);
  if (credential && "fault" in credential) return credential;
  return {
    address: `${name}.${namespace}.svc:${number}`,
    backend,
    caPem: ca?.text,
    credential: credential?.text,
  };
}

/** A route's credential, or why it may not have it: without it, the route is not served. */
function findCredential(
  { authorization }: RouteSpec,
  { namespace, tunnel, table, sources }: ResolutionContext,
): NamedText | undefined {
  if (!authorization) return undefined;
  const { secretRef } = authorization;
  // The copy is in the tunnel's namespace, where others may read it.
  if (tunnel?.resource.isNamespaced && tunnel.home !== namespace) {
    const message = `Secret ${namespace}/${secretRef.name} must not be copied to namespace ` +
      `${tunnel.home}: name a Tunnel of namespace ${namespace}, or a ClusterTunnel`;
    return { fault: no("RefNotPermitted", message) };
  }
  const found = sources.credential({ namespace, ...secretRef });
  if ("fault" in found || !table) return found;
  let characters = found.text.length;
  for (const text of table.credentials.values()) characters += text.length;
  const message =
    `The credentials of a tunnel have more than ${maxCredentialsCharacters} characters`;
  return characters > maxCredentialsCharacters
    ? { fault: no("CredentialInvalid", message) }
    : found;
}

/** The name of the file stays the same when the Secret changes, or another one is named. */
function credentialOf(
  { authorization }: RouteSpec,
  id: string,
  text: string | undefined,
  { credentials }: MutableTable,
): Target["credential"] {
  if (!authorization || text === undefined) return undefined;
  credentials.set(id, text);
  const { header, scheme } = authorization;
  return {
    file: `${credentialsFolder}/${id}`,
    ...header !== undefined && { header },
    ...scheme !== undefined && { scheme },
  };
}

function tlsOf(
  { protocol, tls }: RouteSpec,
  caPem: string | undefined,
  { files }: MutableTable,
  digest: Digest,
): Target["tls"] | undefined {
  if (protocol !== "https") return undefined;
  const { serverName } = tls ?? {};
  const file = caPem === undefined ? undefined : `ca-${digest(caPem).slice(0, 16)}.crt`;
  if (file !== undefined) files.set(file, caPem!);
  return {
    ...file !== undefined && { ca: `${targetsFolder}/${file}` },
    ...serverName !== undefined && { serverName },
  };
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
