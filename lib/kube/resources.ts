/** Kinds of objects, and where the API server has them. */
import { keyOf, type KubeObject } from "./objects.ts";

/** One kind. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** The kind's name in paths. */
  readonly plural: string;
  readonly isNamespaced: boolean;
}

/** Which objects of a kind a path is about. */
export interface ObjectPath {
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly subresource?: "status" | "scale" | undefined;
}

function namespaced(group: string, version: string, kind: string, plural: string): Resource {
  return { group, version, kind, plural, isNamespaced: true };
}

function clusterWide(group: string, version: string, kind: string, plural: string): Resource {
  return { group, version, kind, plural, isNamespaced: false };
}

export const secrets: Resource = namespaced("", "v1", "Secret", "secrets");
export const configMaps: Resource = namespaced("", "v1", "ConfigMap", "configmaps");
export const services: Resource = namespaced("", "v1", "Service", "services");
export const pods: Resource = namespaced("", "v1", "Pod", "pods");
export const serviceAccounts: Resource = namespaced("", "v1", "ServiceAccount", "serviceaccounts");
export const namespaces: Resource = clusterWide("", "v1", "Namespace", "namespaces");
export const deployments: Resource = namespaced("apps", "v1", "Deployment", "deployments");
export const podDisruptionBudgets: Resource = namespaced(
  "policy",
  "v1",
  "PodDisruptionBudget",
  "poddisruptionbudgets",
);
export const networkPolicies: Resource = namespaced(
  "networking.k8s.io",
  "v1",
  "NetworkPolicy",
  "networkpolicies",
);
export const leases: Resource = namespaced("coordination.k8s.io", "v1", "Lease", "leases");
export const events: Resource = namespaced("events.k8s.io", "v1", "Event", "events");
export const endpointSlices: Resource = namespaced(
  "discovery.k8s.io",
  "v1",
  "EndpointSlice",
  "endpointslices",
);
const rbac = "rbac.authorization.k8s.io";
export const roleBindings: Resource = namespaced(rbac, "v1", "RoleBinding", "rolebindings");
export const clusterRoles: Resource = clusterWide(rbac, "v1", "ClusterRole", "clusterroles");
export const clusterRoleBindings: Resource = clusterWide(
  rbac,
  "v1",
  "ClusterRoleBinding",
  "clusterrolebindings",
);
export const mutatingWebhooks: Resource = clusterWide(
  "admissionregistration.k8s.io",
  "v1",
  "MutatingWebhookConfiguration",
  "mutatingwebhookconfigurations",
);

/** `v1` or `apps/v1`, as `apiVersion` has it. */
export function apiVersionOf({ group, version }: Resource): string {
  return group === "" ? version : `${group}/${version}`;
}

/** An object's name for messages: `Tunnel apps/home`. */
export function titleOf({ kind }: Resource, { metadata }: KubeObject): string {
  return `${kind} ${keyOf(metadata)}`;
}

/** The path of an object, or of a collection when no name is given. */
export function pathOf(resource: Resource, { namespace, name, subresource }: ObjectPath): string {
  const root = resource.group === "" ? "/api" : `/apis/${encodeURIComponent(resource.group)}`;
  const parts = [root, resource.version];
  if (namespace !== undefined) parts.push("namespaces", encodeURIComponent(namespace));
  parts.push(resource.plural);
  if (name !== undefined) parts.push(encodeURIComponent(name));
  if (subresource !== undefined) parts.push(subresource);
  return parts.join("/");
}
