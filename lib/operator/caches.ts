/** The watched state of the cluster: a cache for each kind and namespace. */
import { textOfBase64 } from "../base64.ts";
import { Cache, type CacheTiming } from "../kube/cache.ts";
import type { KubeClient } from "../kube/client.ts";
import { untilAborted } from "../kube/delay.ts";
import type { KubeMetrics } from "../kube/metrics.ts";
import type { KubeObject } from "../kube/objects.ts";
import {
  configMaps,
  deployments,
  namespaces,
  networkPolicies,
  podDisruptionBudgets,
  pods,
  type Resource,
  secrets,
  services,
} from "../kube/resources.ts";
import type { Log } from "../log.ts";
import { dnsEndpoints } from "./dns/dns_endpoint.ts";
import {
  accessPolicies,
  clusters,
  clusterTunnels,
  registrationTokens,
  tunnelBindings,
  tunnels,
} from "./api/crds.ts";
import { argocdApplications, clusterSecretSelector } from "./management/argocd.ts";
import { clusterProfiles } from "./management/cluster_profile.ts";
import { group, hostnamesAnnotation, managedSelector } from "./api/schema.ts";

/** What {@link Caches} are made from. */
export interface CachesOptions {
  readonly client: KubeClient;
  /** Namespaces that are watched; empty for all of them and cluster-wide kinds. */
  readonly watchNamespaces: readonly string[];
  /** The kinds to watch; by default, those of the tunnels' controller. */
  readonly kinds?: readonly WatchedKind[];
  /** Where Argo CD is. */
  readonly argocdNamespaces?: readonly string[];
  /** Where ClusterProfiles are. */
  readonly clusterProfileNamespaces?: readonly string[];
  readonly changed: (kind: WatchedKind, after: KubeObject | undefined, before?: KubeObject) => void;
  readonly log: Log;
  readonly metrics?: KubeMetrics | undefined;
  readonly timing?: CacheTiming | undefined;
}

/** The kinds that are listed and watched. */
export type WatchedKind =
  | "tunnels"
  | "clusterTunnels"
  | "bindings"
  | "policies"
  | "services"
  | "deployments"
  | "configMaps"
  | "pods"
  | "budgets"
  | "networkPolicies"
  | "namespaces"
  | "dnsEndpoints"
  | "clusters"
  | "registrationTokens"
  | "argocdSecrets"
  | "applications"
  | "clusterProfiles";

interface Follow {
  readonly resource: Resource;
  /** Only what is made here. */
  readonly isManaged?: true;
  readonly labelSelector?: string;
  /** Only in these namespaces, whatever is watched. */
  readonly scope?: "argocdNamespaces" | "clusterProfileNamespaces";
  readonly keep?: (object: KubeObject) => KubeObject;
  /** The cluster may lack the kind. */
  readonly isOptional?: true;
}

const follows: Readonly<Record<WatchedKind, Follow>> = {
  tunnels: { resource: tunnels },
  clusterTunnels: { resource: clusterTunnels },
  bindings: { resource: tunnelBindings },
  policies: { resource: accessPolicies },
  services: { resource: services, keep: briefService },
  deployments: { resource: deployments, isManaged: true },
  configMaps: { resource: configMaps, isManaged: true },
  pods: { resource: pods, isManaged: true, keep: briefPod },
  budgets: { resource: podDisruptionBudgets, isManaged: true },
  networkPolicies: { resource: networkPolicies, isManaged: true },
  namespaces: { resource: namespaces, keep: briefNamespace },
  dnsEndpoints: { resource: dnsEndpoints, isManaged: true, isOptional: true },
  clusters: { resource: clusters },
  registrationTokens: { resource: registrationTokens },
  argocdSecrets: {
    resource: secrets,
    labelSelector: clusterSecretSelector,
    scope: "argocdNamespaces",
    keep: briefClusterSecret,
  },
  applications: {
    resource: argocdApplications,
    scope: "argocdNamespaces",
    isOptional: true,
    keep: briefApplication,
  },
  clusterProfiles: {
    resource: clusterProfiles,
    scope: "clusterProfileNamespaces",
    isOptional: true,
  },
};

/** The kinds of the relay's side. */
export const managementKinds: readonly WatchedKind[] = [
  "clusters",
  "registrationTokens",
  "argocdSecrets",
  "applications",
  "clusterProfiles",
];

const tunnelKinds = (Object.keys(follows) as WatchedKind[])
  .filter((kind) => !managementKinds.includes(kind));

/** There may be thousands of Services and pods: fields that nobody reads are dropped. */
function briefService({ metadata, ...rest }: KubeObject): KubeObject {
  const { type, ports, clusterIP, selector } = (rest["spec"] ?? {}) as Record<string, unknown>;
  const annotations = Object.entries(metadata.annotations ?? {})
    .filter(([key]) => key.startsWith("culvert.dev/"));
  const { name, namespace = "", uid = "", resourceVersion = "", deletionTimestamp } = metadata;
  return {
    metadata: {
      ...{ name, namespace, uid, resourceVersion, annotations: Object.fromEntries(annotations) },
      ...deletionTimestamp !== undefined && { deletionTimestamp },
    },
    spec: { type, ports, clusterIP, selector },
  };
}

function briefPod({ metadata, ...rest }: KubeObject): KubeObject {
  const { podIP, conditions = [] } = (rest["status"] ?? {}) as {
    podIP?: string;
    conditions?: readonly { readonly type: string; readonly status: string }[];
  };
  const isReady = conditions.some(({ type, status }) => type === "Ready" && status === "True");
  return { metadata, podIP, isReady };
}

function briefNamespace({ metadata }: KubeObject): KubeObject {
  const { name, uid = "", resourceVersion = "", labels = {} } = metadata;
  const hostnames = metadata.annotations?.[hostnamesAnnotation];
  const annotations = hostnames === undefined ? {} : { [hostnamesAnnotation]: hostnames };
  return { metadata: { name, uid, resourceVersion, labels, annotations } };
}

/** Drops the credentials: the cluster's name and server are all that is read. */
function briefClusterSecret({ metadata, ...rest }: KubeObject): KubeObject {
  const data = (rest["data"] ?? {}) as Readonly<Record<string, string>>;
  const text = (key: string) => {
    try {
      return textOfBase64(data[key] ?? "");
    } catch {
      return "";
    }
  };
  return { metadata, name: text("name"), server: text("server") };
}

function briefApplication({ metadata, ...rest }: KubeObject): KubeObject {
  const { destination = {} } = (rest["spec"] ?? {}) as { destination?: unknown };
  const { name, namespace = "", uid = "", resourceVersion = "" } = metadata;
  return { metadata: { name, namespace, uid, resourceVersion }, destination };
}

const clusterWide: readonly WatchedKind[] = ["clusterTunnels", "namespaces"];

/** The caches of all kinds. */
export class Caches {
  /** Whether all namespaces are followed, and kinds that are in none. */
  readonly isWide: boolean;
  readonly #byKind = new Map<WatchedKind, readonly Cache[]>();

  constructor(options: CachesOptions) {
    const { watchNamespaces, kinds = tunnelKinds } = options;
    this.isWide = watchNamespaces.length === 0;
    for (const kind of kinds) {
      const follow = follows[kind];
      const isLeftOut = !this.isWide && clusterWide.includes(kind);
      const scopes = follow.scope
        ? options[follow.scope] ?? []
        : this.isWide
        ? [undefined]
        : watchNamespaces;
      this.#byKind.set(
        kind,
        isLeftOut ? [] : scopes.map((namespace) => cacheOf(kind, follow, namespace, options)),
      );
    }
  }

  /** Follows everything until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#all().map((cache) => cache.run(signal)));
  }

  /** Resolves when every kind has been listed, or the signal is aborted. */
  async synced(signal?: AbortSignal): Promise<void> {
    const all = Promise.all(this.#all().map((cache) => cache.synced));
    await (signal ? Promise.race([all, untilAborted(signal)]) : all);
  }

  /** Kinds that have not been listed yet. */
  get unlisted(): readonly string[] {
    const titles = this.#all().filter(({ isSynced }) => !isSynced).map(({ title }) => title);
    return [...new Set(titles)];
  }

  get(kind: WatchedKind, key: string): KubeObject | undefined {
    for (const cache of this.#byKind.get(kind)!) {
      const object = cache.get(key);
      if (object) return object;
    }
    return undefined;
  }

  /** Whether the cluster lacks a kind. */
  isMissing(kind: WatchedKind): boolean {
    return this.#byKind.get(kind)!.some((cache) => cache.isMissing);
  }

  *values(kind: WatchedKind): Generator<KubeObject> {
    for (const cache of this.#byKind.get(kind)!) yield* cache.values();
  }

  /** Stores the result of a write, ahead of the watch. */
  learn(kind: WatchedKind, object: KubeObject): void {
    // In another namespace's cache, the object would stay after its deletion.
    this.#byKind.get(kind)!.find((cache) => cache.covers(object))?.learn(object);
  }

  #all(): Cache[] {
    return [...this.#byKind.values()].flat();
  }
}

function cacheOf(
  kind: WatchedKind,
  { resource, isManaged, labelSelector, isOptional, keep = (object) => object }: Follow,
  namespace: string | undefined,
  { client, changed, log, metrics, timing }: CachesOptions,
): Cache {
  return new Cache({
    client,
    resource,
    selection: {
      ...namespace !== undefined && { namespace },
      ...isManaged && { labelSelector: managedSelector },
      ...labelSelector !== undefined && { labelSelector },
    },
    keep,
    changed: (_key, after, before) => changed(kind, after, before),
    log,
    ...isOptional && { isOptional },
    ...resource.group === group && { hint: "install the chart culvert-crds" },
    ...metrics && { metrics },
    ...timing && { timing },
  });
}
