/** Names, labels and owner of the objects that a tunnel's agents consist of. */
import type { KubeObject, OwnerReference } from "../../kube/objects.ts";
import { apiVersionOf } from "../../kube/resources.ts";
import { managedByLabel, manager, tunnelKindLabel, tunnelLabel } from "../api/schema.ts";
import type { ReadableTunnel, Tunnel } from "../tunnel.ts";

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
    [tunnelKindLabel]: resource.kind,
  };
}

/** {@link podLabels} as a label selector, for the scale subresource. */
export function selectorOf(tunnel: Tunnel): string {
  return Object.entries(podLabels(tunnel)).map(([label, value]) => `${label}=${value}`).join(",");
}

/** The key of the tunnel that an object was made for; undefined for other objects. */
export function tunnelKeyOfLabels(
  { namespace, labels = {} }: KubeObject["metadata"],
): string | undefined {
  const name = labels[tunnelLabel];
  if (name === undefined) return undefined;
  return labels[tunnelKindLabel] === "ClusterTunnel"
    ? `ClusterTunnel/${name}`
    : `Tunnel/${namespace}/${name}`;
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
