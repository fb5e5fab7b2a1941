/** What routes lead to: a port of a Service, its CA, and a credential for it. */
import type { KubeObject } from "../../kube/objects.ts";
import { parseHost } from "../../config/options/address.ts";
import type { RouteSpec } from "../api/tunnel_binding.ts";
import { no, type Verdict } from "../conditions.ts";
import type { NamedText, TextPath } from "../named_texts.ts";
import type { Tunnel } from "../tunnel.ts";

/** Where routes' backends are found. */
export interface BackendSources {
  service(key: string): KubeObject | undefined;
  /** Text of a ConfigMap's key, or why there is none. */
  ca(path: TextPath): NamedText;
  /** Text of a Secret's key that routes may use, or why there is none. */
  credential(path: TextPath): NamedText;
}

/** Where the targets file and its CAs are in the agent's pod. */
export const targetsFolder = "/etc/culvert/targets";
/** Where the credentials of targets are. */
export const credentialsFolder = "/etc/culvert/credentials";

/** All CAs, or all credentials, of a tunnel together: ConfigMaps and Secrets hold 1 MiB. */
const maxFilesBytes = 512 * 1_024;

/** TLS to a target, as the targets file has it. */
export interface TargetTls {
  readonly ca?: string;
  readonly serverName?: string;
}

/** The credential for a target, as the targets file has it. */
export interface TargetCredential {
  readonly file: string;
  readonly header?: string;
  readonly scheme?: string;
}

/** Texts that targets name, by the names of their files. */
export interface TargetTexts {
  readonly files: Map<string, string>;
  readonly credentials: Map<string, string>;
}

/** Where connections to a Service end: at ports of pods, as a NetworkPolicy sees them. */
export interface Backend {
  readonly namespace: string;
  /** Labels of the pods; undefined where the Service has no selector, so that its pods are not known. */
  readonly selector?: Readonly<Record<string, string>>;
  /** A port's number, or the name that containers give it. */
  readonly port: number | string;
}

/** The target of a route, or why it has none. */
export type Resolution =
  | {
    readonly address: string;
    readonly backend: Backend;
    readonly caPem: string | undefined;
    readonly credential: string | undefined;
  }
  | {
    readonly fault: Verdict;
    /** Where the Service is known, and something else is missing. */
    readonly backend?: Backend;
  };

interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly protocol?: string;
  readonly targetPort?: number | string;
}

/** What is known where a route is resolved. */
export interface ResolutionContext {
  readonly namespace: string;
  readonly tunnel: Tunnel | undefined;
  /** What older routes of the tunnel have. */
  readonly table: TargetTexts | undefined;
  readonly sources: BackendSources;
}

/** Finds the Service of a route, and what else its target needs. */
export function resolve(spec: RouteSpec, context: ResolutionContext): Resolution {
  const found = findBackend(spec, context);
  if ("fault" in found) return found;
  const ca = findCa(spec, context);
  const { backend } = found;
  if (ca && "fault" in ca) return { ...ca, backend };
  const fault = serverNameFault(spec);
  if (fault) return { fault, backend };
  const credential = findCredential(spec, context);
  if (credential && "fault" in credential) return { ...credential, backend };
  return { ...found, caPem: ca?.text, credential: credential?.text };
}

interface FoundBackend {
  readonly address: string;
  readonly backend: Backend;
}

/** The Service and its port, or why the route may not use them. */
function findBackend(
  spec: RouteSpec,
  { namespace, sources }: ResolutionContext,
): FoundBackend | { readonly fault: Verdict } {
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
  // Without a selector, a port's name resolves to nothing; a headless Service has no address of its
  // own, so agents dial the pods' port.
  const isDirect = isHeadless || (!hasSelector && typeof found.targetPort === "string");
  const backend = {
    namespace,
    ...hasSelector && { selector },
    port: isDirect ? number : found.targetPort ?? number,
  };
  return { address: `${name}.${namespace}.svc:${number}`, backend };
}

/** The CA of the Service's certificate; undefined for a route that names none. */
function findCa(
  { tls }: RouteSpec,
  { namespace, table, sources }: ResolutionContext,
): NamedText | undefined {
  const ca = tls?.caRef && sources.ca({ namespace, ...tls.caRef });
  if (!ca || "fault" in ca) return ca;
  const cas = [...table?.files.values() ?? []];
  if (cas.includes(ca.text) || fits(ca.text, cas)) return ca;
  const message = `The CAs of a tunnel's routes have more than ${maxFilesBytes} bytes`;
  return { fault: no("CaInvalid", message) };
}

/** Agents refuse a table with such a name, which would block the routes of others. */
function serverNameFault({ tls: { serverName } = {} }: RouteSpec): Verdict | undefined {
  if (serverName === undefined || parseHost(serverName) !== undefined) return undefined;
  const name = JSON.stringify(serverName);
  return no("ServerNameInvalid", `tls.serverName ${name} is neither a host name nor an IP address`);
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
  if ("fault" in found || fits(found.text, [...table?.credentials.values() ?? []])) return found;
  const message = `The credentials of a tunnel have more than ${maxFilesBytes} bytes`;
  return { fault: no("CredentialInvalid", message) };
}

/** Whether there is room for one more text beside others. */
function fits(text: string, others: readonly string[]): boolean {
  const encoder = new TextEncoder();
  const bytes = [text, ...others].reduce((sum, it) => sum + encoder.encode(it).length, 0);
  return bytes <= maxFilesBytes;
}

type Resolved = Exclude<Resolution, { readonly fault: Verdict }>;

/** The parts of a target that are in files; their texts go into the table. */
export function partsOf(
  spec: RouteSpec,
  id: string,
  { caPem, credential: text }: Resolved,
  { files, credentials }: TargetTexts,
  digest: (text: string) => string,
): { readonly tls?: TargetTls; readonly credential?: TargetCredential } {
  const caFile = caPem === undefined ? undefined : `ca-${digest(caPem).slice(0, 16)}.crt`;
  if (caFile !== undefined) files.set(caFile, caPem!);
  if (text !== undefined) credentials.set(id, text);
  return {
    ...spec.protocol === "https" && { tls: tlsOf(spec, caFile) },
    ...spec.authorization && { credential: credentialOf(spec.authorization, id) },
  };
}

function tlsOf({ tls }: RouteSpec, caFile: string | undefined): TargetTls {
  const { serverName } = tls ?? {};
  return {
    ...caFile !== undefined && { ca: `${targetsFolder}/${caFile}` },
    ...serverName !== undefined && { serverName },
  };
}

/** The name of the file stays the same when the Secret changes, or another one is named. */
function credentialOf(
  { header, scheme }: NonNullable<RouteSpec["authorization"]>,
  id: string,
): TargetCredential {
  return {
    file: `${credentialsFolder}/${id}`,
    ...header !== undefined && { header },
    ...scheme !== undefined && { scheme },
  };
}
