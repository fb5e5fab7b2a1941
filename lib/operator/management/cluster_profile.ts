/**
 * ClusterProfile: how Kubernetes' cluster inventory describes a cluster, and how tools reach it (KEP-4322,
 * KEP-5339). It holds no credential: whoever reads it has its own for the access provider's name.
 */
import { base64Of } from "../../base64.ts";
import type { Condition, KubeObject } from "../../kube/objects.ts";
import type { Resource } from "../../kube/resources.ts";
import type { ClusterProfileSpec } from "../api/cluster.ts";
import { stamped } from "../applied.ts";
import { conditionsOf, unknown, type Verdict, yes } from "../conditions.ts";
import type { Digest } from "../digest.ts";
import { serverOf } from "./argocd.ts";
import { ownerMarks } from "./cluster_owner.ts";
import type { ArgocdCredentials } from "./relay_credentials.ts";

export const clusterProfiles: Resource = {
  group: "multicluster.x-k8s.io",
  version: "v1alpha1",
  kind: "ClusterProfile",
  plural: "clusterprofiles",
  isNamespaced: true,
};

/** The label by which inventories select a cluster manager's profiles: its `spec.clusterManager.name`. */
const clusterManagerLabel = "x-k8s.io/cluster-manager";
const clusterManager = "culvert";
/** What a client passes on to its credential plugin (client.authentication.k8s.io). */
const execExtension = "client.authentication.k8s.io/exec";
const healthCondition = "ControlPlaneHealthy";

/** What one cluster's profile is made of. */
export interface ProfileParts {
  /** `NAMESPACE/NAME` of the Cluster. */
  readonly owner: string;
  readonly name: string;
  readonly id: string;
  readonly namespace: string;
  /** The relay's internal listener, without a slash at the end. */
  readonly relayUrl: string;
  readonly spec: ClusterProfileSpec;
  readonly credentials: Pick<ArgocdCredentials, "ca" | "serverName">;
  /** Whether agents are connected; undefined where nobody can say. */
  readonly connected: Verdict | undefined;
}

/** A profile, but for its status. */
export function clusterProfile({ owner, name, namespace, spec }: ProfileParts, digest: Digest) {
  const { labels, annotations } = ownerMarks(owner, digest);
  return stamped({
    metadata: {
      ...{ name, namespace, annotations },
      labels: { ...spec.labels, [clusterManagerLabel]: clusterManager, ...labels },
    },
    spec: { clusterManager: { name: clusterManager }, displayName: spec.displayName ?? name },
  }, digest);
}

/** What the operator writes into a profile's status. */
export interface ProfileStatus {
  readonly accessProviders: readonly { readonly name: string; readonly cluster: unknown }[];
  readonly conditions: readonly Condition[];
}

/** The status. @param there The profile as it is, whose conditions keep their times */
export function profileStatus(
  { spec, name, connected, credentials: { ca, serverName }, ...place }: ProfileParts,
  there: KubeObject,
): ProfileStatus {
  const cluster = {
    server: serverOf(place),
    ...ca !== undefined && { "certificate-authority-data": base64Of(ca) },
    ...serverName !== undefined && { "tls-server-name": serverName },
    extensions: [{ name: execExtension, extension: { clusterName: name } }],
  };
  const verdicts = connected ? { [healthCondition]: healthOf(connected) } : {};
  return {
    accessProviders: [{ name: spec.accessProvider, cluster }],
    conditions: conditionsOf(verdicts, statusOf(there).conditions, there.metadata.generation),
  };
}

/** The parts of a profile's status that the operator writes, as they are; those of others are left out. */
export function ownStatusOf(profile: KubeObject, provider: string): ProfileStatus {
  const { accessProviders = [], conditions = [] } = statusOf(profile);
  return {
    accessProviders: accessProviders.filter(({ name }) => name === provider),
    conditions: conditions.filter(({ type }) => type === healthCondition),
  };
}

/** Where a profile says that its cluster is, by whatever access provider. */
export function serversOf(profile: KubeObject): readonly unknown[] {
  const { accessProviders = [] } = statusOf(profile);
  return accessProviders.map(({ cluster }) => (cluster as { server?: unknown } | null)?.server);
}

function statusOf(profile: KubeObject): Partial<ProfileStatus> {
  return (profile["status"] ?? {}) as Partial<ProfileStatus>;
}

/** A cluster whose agents are away may be healthy. */
function healthOf({ status, reason, message }: Verdict): Verdict {
  if (status === "True") {
    return yes("AgentConnected", "An agent of the cluster is connected to the relay");
  }
  return unknown(reason, message);
}
