/** What is made in the cluster for one tunnel: pure functions from a Tunnel to objects. */
import type { KubeObject, OwnerReference } from "../../kube/objects.ts";
import { apiVersionOf } from "../../kube/resources.ts";
import { group, managedByLabel, manager, tunnelLabel, version } from "../api/schema.ts";
import type { CaRef, ProxyRef } from "../api/relay.ts";
import type { TunnelSpec } from "../api/tunnel.ts";
import { credentialsFolder, targetsFolder } from "../routes/route_resolution.ts";
import { targetsText, type TunnelTable } from "../routes/route_table.ts";
import { secretData } from "../secret_text.ts";
import type { Tunnel } from "../tunnel.ts";

/** A tunnel whose spec could be read. */
export type ReadableTunnel = Tunnel & { readonly spec: TunnelSpec };

const kindLabel = "culvert.dev/tunnel-kind";
/** On agents' pods: changes with the routes, so that kubelet renews their mount at once. */
export const routesAnnotation = "culvert.dev/routes";
/** On agents' pods: changes with the token, so that kubelet renews its mount at once. */
export const tokenAnnotation = "culvert.dev/token";
/** On agents' pods: changes with routes' credentials, so that kubelet renews their mount at once. */
export const credentialsAnnotation = "culvert.dev/credentials";
/** On the token's Secret: since when it holds this token. */
export const tokenSinceAnnotation = "culvert.dev/token-since";
/** On all objects: a digest of what was applied, so that fields which are left out are noticed. */
const appliedAnnotation = "culvert.dev/applied";

/** Selects everything that is made here. */
export const managedSelector = `${managedByLabel}=${manager}`;

/** Names of a tunnel's objects. */
export function namesOf({ resource, name }: Tunnel): {
  readonly agent: string;
  readonly token: string;
  readonly routes: string;
  readonly credentials: string;
} {
  const base = resource.isNamespaced ? name : `cluster-${name}`;
  return {
    agent: `${base}-agent`,
    token: `${base}-agent-token`,
    routes: `${base}-routes`,
    credentials: `${base}-agent-credentials`,
  };
}

/** As whom callers reach the API server, where the tunnel serves it. */
export function serviceAccountOf(tunnel: ReadableTunnel): string {
  return tunnel.spec.kubernetesApi?.serviceAccountName ?? namesOf(tunnel).agent;
}

/** The labels by which a tunnel's pods are selected. */
export function podLabels({ resource, name }: Tunnel): Record<string, string> {
  return {
    "app.kubernetes.io/name": "culvert-agent",
    [tunnelLabel]: name,
    [kindLabel]: resource.kind,
  };
}

/** The same as a text, for the scale subresource. */
export function selectorOf(tunnel: Tunnel): string {
  return Object.entries(podLabels(tunnel)).map(([label, value]) => `${label}=${value}`).join(",");
}

/** The tunnel as its objects' owner. */
export function ownerOf({ resource, object }: Tunnel): OwnerReference {
  return {
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    name: object.metadata.name,
    uid: object.metadata.uid ?? "",
    controller: true,
  };
}

/** @param name One of {@link namesOf}. */
export function metadataOf(tunnel: Tunnel, name: string): KubeObject["metadata"] {
  return {
    name,
    namespace: tunnel.home,
    labels: { ...podLabels(tunnel), [managedByLabel]: manager },
    ownerReferences: [ownerOf(tunnel)],
  };
}

/** The agents' token. */
export function tokenSecret(tunnel: Tunnel, token: string, since: Date): KubeObject {
  const { metadata, ...frame } = tokenSecretFrame(tunnel);
  const annotations = { [tokenSinceAnnotation]: since.toISOString() };
  return { ...frame, metadata: { ...metadata, annotations }, stringData: { token } };
}

/** That Secret without the token: what is applied again when somebody changes it. */
export function tokenSecretFrame(tunnel: Tunnel): KubeObject {
  return { metadata: metadataOf(tunnel, namesOf(tunnel).token), type: "Opaque" };
}

/** What the relay's operator needs, where nobody registers the tunnel: no token, only its digest. */
export function entrySecret(
  tunnel: Tunnel,
  name: string,
  entry: Readonly<Record<string, unknown>>,
  targets: readonly string[],
): KubeObject {
  return {
    metadata: metadataOf(tunnel, name),
    type: "Opaque",
    stringData: {
      "cluster.json": `${JSON.stringify(entry)}\n`,
      "targets.json": `${JSON.stringify(targets)}\n`,
      "cluster.yaml": `${JSON.stringify(clusterOf(entry), undefined, 2)}\n`,
    },
  };
}

/** The Cluster that admits the tunnel, for the relay's operator: JSON, which is YAML too. */
function clusterOf({ id, tokens, targetAddr }: Readonly<Record<string, unknown>>): unknown {
  const digests = tokens as readonly { readonly name: string; readonly tokenSha256: string }[];
  return {
    apiVersion: `${group}/${version}`,
    kind: "Cluster",
    metadata: { name: id },
    spec: {
      tokens: digests.map(({ name, tokenSha256 }) => ({ name, sha256: tokenSha256 })),
      ...targetAddr !== undefined && { targets: [targetAddr], argocd: { enabled: true } },
    },
  };
}

/** The targets file and its CAs. */
export function routesConfigMap(tunnel: Tunnel, table: TunnelTable): KubeObject {
  return {
    metadata: metadataOf(tunnel, namesOf(tunnel).routes),
    data: { "targets.yaml": targetsText(table), ...Object.fromEntries(table.files) },
  };
}

/** The credentials that agents add to requests for routes' Services. */
export function credentialsSecret(tunnel: Tunnel, { credentials }: TunnelTable): KubeObject {
  const sorted = [...credentials].sort(([one], [other]) => one < other ? -1 : 1);
  return {
    metadata: metadataOf(tunnel, namesOf(tunnel).credentials),
    type: "Opaque",
    data: secretData(Object.fromEntries(sorted)),
  };
}

/** Volumes and mounts of an agent that serves routes. @param prefix Begins the volumes' names. */
export function routesParts(
  tunnel: Tunnel,
  prefix: string,
): Pick<RelayParts, "mounts" | "volumes"> {
  const { routes, credentials } = namesOf(tunnel);
  const parts = [
    { name: `${prefix}targets`, path: targetsFolder, source: { configMap: { name: routes } } },
    {
      name: `${prefix}credentials`,
      path: credentialsFolder,
      // A route's first credential must not restart pods.
      source: { secret: { secretName: credentials, optional: true } },
    },
  ];
  return {
    mounts: parts.map(({ name, path }) => ({ name, mountPath: path, readOnly: true })),
    volumes: parts.map(({ name, source }) => ({ name, ...source })),
  };
}

/** At least one agent stays while nodes are drained; undefined where there is but one. */
export function disruptionBudget(tunnel: ReadableTunnel): KubeObject | undefined {
  const { pdb, replicas } = tunnel.spec.agent;
  if (!pdb || replicas < 2) return undefined;
  return {
    metadata: metadataOf(tunnel, namesOf(tunnel).agent),
    spec: { maxUnavailable: 1, selector: { matchLabels: podLabels(tunnel) } },
  };
}

/** What an agent's pod needs besides the tunnel itself. */
export interface AgentParts {
  readonly image: string;
}

/** The agents. */
export function agentDeployment(tunnel: ReadableTunnel, parts: AgentParts): KubeObject {
  const { agent } = tunnel.spec;
  const isOnHost = agent.hostNetwork && agent.healthPort > 0;
  return {
    metadata: metadataOf(tunnel, namesOf(tunnel).agent),
    spec: {
      replicas: agent.replicas,
      revisionHistoryLimit: 3,
      strategy: {
        type: "RollingUpdate",
        // Two pods of one node can't have the same port of the host.
        rollingUpdate: isOnHost
          ? { maxSurge: 0, maxUnavailable: 1 }
          : { maxSurge: 1, maxUnavailable: 0 },
      },
      selector: { matchLabels: podLabels(tunnel) },
      template: {
        metadata: {
          labels: { ...agent.podLabels, ...podLabels(tunnel), [managedByLabel]: manager },
          ...agent.podAnnotations && { annotations: agent.podAnnotations },
        },
        spec: podSpec(tunnel, parts),
      },
    },
  };
}

const terminationGraceSeconds = 40;
/** As whom agents run. */
export const uid = 65_532;

/** What every agent's container may do. */
export const containerSecurity = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
};

function podSpec(tunnel: ReadableTunnel, { image }: AgentParts): unknown {
  const { agent, kubernetesApi } = tunnel.spec;
  const relay = relayParts(tunnel, "");
  const routes = routesParts(tunnel, "");
  const probe = (path: string) => ({ httpGet: { path, port: "health" } });
  const health = agent.healthPort > 0;
  return {
    ...kubernetesApi && { serviceAccountName: serviceAccountOf(tunnel) },
    automountServiceAccountToken: kubernetesApi !== undefined,
    enableServiceLinks: false,
    ...agent.hostNetwork && { hostNetwork: true, dnsPolicy: "ClusterFirstWithHostNet" },
    ...agent.imagePullSecrets && { imagePullSecrets: agent.imagePullSecrets },
    ...agent.nodeSelector && { nodeSelector: agent.nodeSelector },
    ...agent.tolerations && { tolerations: agent.tolerations },
    ...agent.affinity && { affinity: agent.affinity },
    ...agent.topologySpreadConstraints && {
      topologySpreadConstraints: agent.topologySpreadConstraints,
    },
    ...agent.priorityClassName && { priorityClassName: agent.priorityClassName },
    terminationGracePeriodSeconds: terminationGraceSeconds,
    securityContext: {
      runAsNonRoot: true,
      ...{ runAsUser: uid, runAsGroup: uid, fsGroup: uid },
      seccompProfile: { type: "RuntimeDefault" },
    },
    containers: [{
      name: "agent",
      image,
      ...agent.imagePullPolicy && { imagePullPolicy: agent.imagePullPolicy },
      args: argsOf(tunnel, relay.args),
      securityContext: containerSecurity,
      ...agent.resources && { resources: agent.resources },
      ...health && {
        ports: [{ name: "health", containerPort: agent.healthPort, protocol: "TCP" }],
        startupProbe: { ...probe("/healthz"), periodSeconds: 1, failureThreshold: 60 },
        livenessProbe: { ...probe("/healthz"), periodSeconds: 10, timeoutSeconds: 5 },
        readinessProbe: { ...probe("/readyz"), periodSeconds: 2, timeoutSeconds: 3 },
      },
      volumeMounts: [...routes.mounts, ...relay.mounts],
    }],
    volumes: [...routes.volumes, ...relay.volumes],
  };
}

const relayCaFolder = "/etc/culvert/relay-ca";
const relayTokenFolder = "/etc/culvert/relay-token";
const clientCertFolder = "/etc/culvert/relay-client";
const proxyFolder = "/etc/culvert/relay-proxy";

/** A folder with one key of a Secret or ConfigMap as the file `path`. */
function fileVolume({ kind, name, key }: CaRef | ProxyRef, path: string): Record<string, unknown> {
  const items = [{ key, path }];
  return kind === "Secret"
    ? { secret: { secretName: name, items } }
    : { configMap: { name, items } };
}

/** The Secret's key that holds the agents' token. */
function tokenKeyOf(
  tunnel: ReadableTunnel,
): { readonly name: string; readonly key: string } {
  return tunnel.spec.relay.registration.existing?.tokenRef ??
    { name: namesOf(tunnel).token, key: "token" };
}

/** What any agent of a tunnel needs to reach the relay, in whichever pod it runs. */
export interface RelayParts {
  readonly args: readonly string[];
  readonly mounts: readonly unknown[];
  readonly volumes: readonly { readonly name: string; readonly [key: string]: unknown }[];
}

/** @param prefix Begins the names of volumes, which a user's pod may have too. */
export function relayParts(tunnel: ReadableTunnel, prefix: string): RelayParts {
  const { relay } = tunnel.spec;
  const { name: secretName, key } = tokenKeyOf(tunnel);
  const token = { secret: { secretName, items: [{ key, path: "token" }] } };
  const folders: [string, string, Record<string, unknown>][] = [
    ["relay-token", relayTokenFolder, token],
  ];
  if (relay.caRef) {
    folders.push(["relay-ca", relayCaFolder, fileVolume(relay.caRef, "ca.crt")]);
  }
  if (relay.clientCertRef) {
    const secret = { secretName: relay.clientCertRef.name };
    folders.push(["relay-client", clientCertFolder, { secret }]);
  }
  // The URL may hold a password: it is in no object but the one that the spec names.
  if (relay.proxyRef) {
    folders.push(["relay-proxy", proxyFolder, fileVolume(relay.proxyRef, "proxy")]);
  }
  return {
    args: [
      `--server=${relay.url}`,
      // Unlike variables, files follow their Secrets.
      `--token-file=${relayTokenFolder}/token`,
      ...relay.proxyRef ? [`--proxy-file=${proxyFolder}/proxy`] : [],
      ...relay.allowInsecure && relay.url.startsWith("ws://") ? ["--allow-insecure-server"] : [],
      ...relay.caRef ? [`--server-ca-cert=${relayCaFolder}/ca.crt`] : [],
      ...relay.serverName !== undefined ? [`--server-name=${relay.serverName}`] : [],
      ...relay.clientCertRef
        ? [`--client-cert=${clientCertFolder}/tls.crt`, `--client-key=${clientCertFolder}/tls.key`]
        : [],
    ],
    mounts: folders.map(([name, mountPath]) => ({
      ...{ name: prefix + name, mountPath, readOnly: true },
    })),
    volumes: folders.map(([name, _, source]) => ({ name: prefix + name, ...source })),
  };
}

function argsOf({ spec: { agent, kubernetesApi } }: ReadableTunnel, relay: RelayParts["args"]) {
  return [
    ...relay,
    `--targets=${targetsFolder}/targets.yaml`,
    ...kubernetesApi
      ? [
        `--target=${apiServerTarget}`,
        "--sa-token-path=/var/run/secrets/kubernetes.io/serviceaccount/token",
        "--ca-cert=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
      ]
      : [],
    `--health-addr=${agent.healthPort > 0 ? `:${agent.healthPort}` : ""}`,
    "--log-format=json",
    ...agent.extraArgs ?? [],
  ];
}

/** The API server as the agent and the relay name it. */
export const apiServerTarget = "kubernetes.default.svc:443";

/** An object with a digest of itself. */
export function stamped(object: KubeObject, digest: (text: string) => string): KubeObject {
  const { metadata } = object;
  const annotations = {
    ...metadata.annotations,
    [appliedAnnotation]: digest(JSON.stringify(object)).slice(0, 16),
  };
  return { ...object, metadata: { ...metadata, annotations } };
}

/** Whether two values say the same; absent and undefined are the same. */
export function isEqual(one: unknown, other: unknown): boolean {
  return includes(one, other) && includes(other, one);
}

/** Whether an object has all fields of another one, with the same values. */
export function includes(whole: unknown, part: unknown): boolean {
  if (Array.isArray(part)) {
    // The API server leaves empty lists out.
    const list = whole ?? [];
    return Array.isArray(list) && list.length === part.length &&
      part.every((entry, index) => includes(list[index], entry));
  }
  if (typeof part !== "object" || part === null) return whole === part;
  if (typeof whole !== "object" || whole === null) return false;
  return Object.entries(part).every(([key, value]) =>
    value === undefined || includes((whole as Record<string, unknown>)[key], value)
  );
}
