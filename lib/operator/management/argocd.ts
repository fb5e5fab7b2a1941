/** Argo CD as the operator sees it: its cluster Secrets, and the Applications that use them. */
import { argocdConfig, argocdSecretName } from "../../domain/argocd_secret.ts";
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import type { Resource } from "../../kube/resources.ts";
import type { ArgocdSpec } from "../api/cluster.ts";
import { stamped } from "../applied.ts";
import type { Digest } from "../digest.ts";
import { ownerMarks, ownerOf } from "./cluster_owner.ts";
import type { ArgocdCredentials } from "./relay_credentials.ts";
import { secretData } from "../secret_text.ts";

/** Argo CD's Applications. */
export const argocdApplications: Resource = {
  group: "argoproj.io",
  version: "v1alpha1",
  kind: "Application",
  plural: "applications",
  isNamespaced: true,
};

const typeLabel = "argocd.argoproj.io/secret-type";
/** Selects Argo CD's cluster Secrets, whoever made them. */
export const clusterSecretSelector = `${typeLabel}=cluster`;

/** What one cluster's Secret is made of. */
export interface SecretParts {
  /** `NAMESPACE/NAME` of the Cluster. */
  readonly owner: string;
  readonly id: string;
  readonly namespace: string;
  /** The relay's internal listener, without a slash at the end. */
  readonly relayUrl: string;
  readonly spec: ArgocdSpec;
  readonly credentials: ArgocdCredentials;
}

/** Where a cluster is behind the relay. */
export function serverOf({ relayUrl, id }: Pick<SecretParts, "relayUrl" | "id">): string {
  return `${relayUrl}/tunnel/${id}`;
}

/** The Secret by which Argo CD knows a cluster. */
export async function argocdSecret(parts: SecretParts, digest: Digest): Promise<KubeObject> {
  const { spec, id, owner, credentials } = parts;
  const isHttps = parts.relayUrl.startsWith("https:");
  const config = argocdConfig({
    token: credentials.token,
    ...isHttps && { tls: credentials },
  });
  const { namespaces = [] } = spec;
  const { labels, annotations } = ownerMarks(owner, digest);
  return stamped({
    metadata: {
      name: await argocdSecretName(id),
      namespace: parts.namespace,
      labels: {
        ...spec.labels,
        [typeLabel]: "cluster",
        ...labels,
      },
      annotations: { ...spec.annotations, ...annotations },
    },
    type: "Opaque",
    data: secretData({
      name: id,
      server: serverOf(parts),
      config: JSON.stringify(config),
      ...namespaces.length > 0 && {
        namespaces: namespaces.join(","),
        clusterResources: String(spec.clusterResources),
      },
      ...spec.project !== undefined && { project: spec.project },
    }),
  }, digest);
}

/** Names of the Applications that use a Secret's cluster. */
export function applicationsOf(
  secret: KubeObject,
  applications: Iterable<KubeObject>,
): readonly string[] {
  return [...applications].filter((application) => isDestination(secret, application))
    .map(({ metadata }) => metadata.name).sort();
}

/** Whether an Application goes to a Secret's cluster. */
export function isDestination(secret: KubeObject, application: KubeObject): boolean {
  if (secret.metadata.namespace !== application.metadata.namespace) return false;
  const { name, server } = application["destination"] as { name?: unknown; server?: unknown };
  if (typeof name === "string" && name !== "") return name === secret["name"];
  return typeof server === "string" && server !== "" && server === secret["server"];
}

/** Somebody else's Secret that stands for the same cluster as one that is wanted. */
export function rivalOf(
  { namespace, id, relayUrl, owner }: Pick<SecretParts, "namespace" | "id" | "relayUrl" | "owner">,
  secrets: Iterable<KubeObject>,
): string | undefined {
  const server = serverOf({ relayUrl, id });
  for (const secret of secrets) {
    if (secret.metadata.namespace !== namespace || ownerOf(secret) === owner) continue;
    if (secret["server"] === server || secret["name"] === id) return keyOf(secret.metadata);
  }
  return undefined;
}
