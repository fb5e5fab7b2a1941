/** What the reconcilers of the relay's side work with. */
import type { KubeClient } from "../../kube/client.ts";
import type { EventRecorder } from "../../kube/events.ts";
import type { KubeObject } from "../../kube/objects.ts";
import type { Log } from "../../log.ts";
import { no, type Verdict } from "../conditions.ts";
import type { Digest } from "../digest.ts";
import type { RelayApi } from "../relay/relay_api.ts";
import type { Caches } from "../caches.ts";
import type { ArgocdCredentials, RelayCredentials } from "./relay_credentials.ts";
import type { RelayView } from "./relay_view.ts";

/** Settings of the relay's side. */
export interface ManagementSettings {
  /** The relay's namespace, in which clusters that register get their Clusters. */
  readonly namespace: string;
  /** The relay's internal listener for Argo CD and readers of ClusterProfiles, without a slash at the end. */
  readonly argocdServer: string | undefined;
  /** Where Argo CD is; the first is the default. */
  readonly argocdNamespaces: readonly string[];
  /** Where ClusterProfiles may be; the first is the default. */
  readonly clusterProfileNamespaces: readonly string[];
  /** The relay's admin API, without a slash at the end. */
  readonly relayAdminUrl: string | undefined;
  /** The Secret with CA, client certificate and token for the relay. */
  readonly relaySecret: string | undefined;
  /** Selects the relay's pods, which are to read their files at once. */
  readonly relaySelector: string;
  /** How often the relay is polled where its watch does not report everything. */
  readonly pollMs: number;
  /** How often it is polled even if its watch reports everything. */
  readonly resyncMs: number;
  /** How often Secrets are read that the operator may not watch. */
  readonly checkMs: number;
  /** How long a registered cluster may be missing at the relay before its Cluster goes. */
  readonly goneMs: number;
  /** Bytes for clusters in one Secret; tests set a lower value. */
  readonly maxSecretBytes?: number;
  /** How long clean-up may fail before the finalizer is removed anyway. */
  readonly orphanMs: number;
}

/** Parts that the reconcilers share. */
export interface ManagementContext {
  readonly client: KubeClient;
  readonly caches: Caches;
  readonly relays: RelayApi;
  readonly events: EventRecorder;
  readonly log: Log;
  readonly settings: ManagementSettings;
  readonly digest: Digest;
  readonly newToken: () => string;
  readonly credentials: RelayCredentials;
  /** Undefined without `--relay-admin-url`. */
  readonly view: RelayView | undefined;
}

/**
 * Whether an object is in the operator's namespace, where its relay is. Credentials of that relay, and
 * calls to its admin API, are for these objects alone: whoever may create them in another namespace
 * need not have any right to the relay.
 */
export function isOfRelay(
  { settings }: Pick<ManagementContext, "settings">,
  { metadata }: KubeObject,
): boolean {
  return metadata.namespace === settings.namespace;
}

/** Why an object of another namespace is refused what {@link isOfRelay} is about. */
export function notOfRelay(
  { settings }: Pick<ManagementContext, "settings">,
  what: string,
): Verdict {
  return no(
    "NamespaceNotAllowed",
    `${what} must be in the operator's namespace, ${settings.namespace}`,
  );
}

/** The relay's internal listener; unless given, that of the chart culvert-relay beside the operator. */
export function relayUrlOf(
  { argocdServer, namespace }: Pick<ManagementSettings, "argocdServer" | "namespace">,
  { ca }: ArgocdCredentials,
): string {
  const scheme = ca === undefined ? "http" : "https";
  return argocdServer ?? `${scheme}://culvert-relay-internal.${namespace}.svc:8080`;
}

/** Which namespace an object goes to: the one asked for, or else the first that is allowed. */
export function namespaceFor(
  wanted: string | undefined,
  { option, allowed }: { readonly option: string; readonly allowed: readonly string[] },
): { readonly namespace: string } | { readonly verdict: Verdict } {
  const namespace = wanted ?? allowed[0];
  if (namespace !== undefined && allowed.includes(namespace)) return { namespace };
  const message = `${option} has ${allowed.join(", ") || "none"}`;
  return { verdict: no("NamespaceNotAllowed", message) };
}

/** Objects of a kind in one namespace. */
export function inNamespace(objects: Iterable<KubeObject>, namespace: string): KubeObject[] {
  return [...objects].filter(({ metadata }) => metadata.namespace === namespace);
}
