/** The pods of a tunnel's agents: pure functions from a Tunnel to objects. */
import type { KubeObject } from "../../kube/objects.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import type { CaRef, ProxyRef } from "../api/relay.ts";
import { credentialsFolder, targetsFolder } from "../routes/route_resolution.ts";
import type { ReadableTunnel, Tunnel } from "../tunnel.ts";
import { metadataOf, namesOf, podLabels, serviceAccountOf } from "./agent_metadata.ts";

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
/** The user and group that agents run as. */
export const agentUid = 65_532;

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
      ...{ runAsUser: agentUid, runAsGroup: agentUid, fsGroup: agentUid },
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
