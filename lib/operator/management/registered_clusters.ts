/** Clusters that have registered at the relay by themselves: each gets a Cluster, which goes with it. */
import { isConflict } from "../../kube/errors.ts";
import { clusters, registrationTokens } from "../api/crds.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import type { ArgocdSecrets } from "./argocd_secrets.ts";
import { type ReadCluster, readCluster } from "./cluster_table.ts";
import { inNamespace, type ManagementContext } from "./management_context.ts";
import type { RegistrationTokens } from "./registration_tokens.ts";
import type { RelayCluster, RelayView } from "./relay_view.ts";

const tokenLabel = "culvert.dev/registration-token";
/** The longest id that a Cluster may have, as in the CRD. */
const maxIdCharacters = 200;
/** What is left out of a name that an id does not fit into. */
const digestCharacters = 8;

/** Makes and deletes Clusters for what the relay has. */
export class RegisteredClusters {
  readonly #context: ManagementContext;
  readonly #tokens: RegistrationTokens;
  readonly #argocd: ArgocdSecrets;

  constructor(context: ManagementContext, tokens: RegistrationTokens, argocd: ArgocdSecrets) {
    this.#context = context;
    this.#tokens = tokens;
    this.#argocd = argocd;
  }

  /** @returns after how many milliseconds to look again */
  async reconcile(): Promise<number | undefined> {
    const { view, caches, settings } = this.#context;
    // What can't be asked must not pass for one that has nothing.
    if (!view || view.fault !== undefined) return undefined;
    const known = new Map(
      inNamespace(caches.values("clusters"), settings.namespace).map(readCluster)
        .map((cluster) => [cluster.id, cluster]),
    );
    for (const entry of view.clusters.values()) {
      if (!entry.isConfigured && !known.has(entry.id)) await this.#create(entry);
    }
    let againMs: number | undefined;
    for (const cluster of known.values()) {
      const waitMs = await this.#deleteIfGone(cluster, view);
      if (waitMs !== undefined) againMs = Math.min(againMs ?? Infinity, waitMs);
    }
    return againMs;
  }

  async #create({ id, registeredBy, isAccepted, targetAddr }: RelayCluster): Promise<void> {
    const { client, settings, caches, digest } = this.#context;
    const token = registeredBy === undefined ? undefined : this.#tokens.specOf(registeredBy);
    if (registeredBy === undefined || !token) return;
    if (id.length > maxIdCharacters) return await this.#reportLong(registeredBy, id);
    // What the view shows may have been deleted since, with its Cluster.
    const { relays, view } = this.#context;
    if (!view?.access || !await relays.find(view.access, "clusters", id)) return;
    const name = nameOf(id, digest);
    try {
      const created = await client.create(clusters, {
        metadata: {
          name,
          namespace: settings.namespace,
          labels: { [managedByLabel]: manager, [tokenLabel]: registeredBy },
        },
        spec: {
          ...name !== id && { id },
          registrationToken: registeredBy,
          accepted: isAccepted,
          ...targetAddr !== undefined && { targets: [targetAddr] },
          argocd: token.argocd,
          ...token.clusterProfile.enabled && { clusterProfile: token.clusterProfile },
        },
      });
      caches.learn("clusters", created);
    } catch (error) {
      // Somebody has made one of this name meanwhile.
      if (!isConflict(error)) throw error;
    }
  }

  async #reportLong(name: string, id: string): Promise<void> {
    const { caches, settings, events } = this.#context;
    const token = caches.get("registrationTokens", `${settings.namespace}/${name}`);
    if (!token) return;
    await events.report(registrationTokens, token, {
      type: "Warning",
      reason: "IdTooLong",
      action: "Register",
      note: `${id} has more than ${maxIdCharacters} characters, so there is no Cluster for it`,
    });
  }

  /**
   * Deletes the Cluster of an entry that is gone. A relay that has lost its entries gets them back when
   * clusters register again, and what Applications use must outlast that.
   *
   * @returns when to look again
   */
  async #deleteIfGone(cluster: ReadCluster, view: RelayView): Promise<number | undefined> {
    const { id, spec, isDeleted, object, key } = cluster;
    if (spec?.registrationToken === undefined || isDeleted || view.clusters.has(id)) {
      return undefined;
    }
    view.miss(id);
    const { goneMs } = this.#context.settings;
    const leftMs = goneMs - (view.missingMs(id) ?? 0);
    if (leftMs > 0) return leftMs;
    // Their going is told.
    if ((await this.#argocd.confirmedUsersOf(key)).length > 0) return undefined;
    const { relays, client } = this.#context;
    const access = view.access;
    if (!access || await relays.find(access, "clusters", id)) return undefined;
    await client.delete(clusters, object.metadata, object.metadata.uid!);
    view.forget(id);
    return undefined;
  }
}

/** The name of a Cluster; ids that no name can hold are told apart by a part of their digest. */
function nameOf(id: string, digest: (text: string) => string): string {
  const plain = id.toLowerCase().replaceAll(/[^a-z0-9.-]/g, "-").replaceAll(/[.-]*\.[.-]*/g, ".")
    .replaceAll(/^[.-]+|[.-]+$/g, "");
  if (plain === id) return id;
  const head = plain.slice(0, maxIdCharacters - digestCharacters - 1).replace(/[.-]+$/, "");
  return [head, digest(id).slice(0, digestCharacters)].filter((part) => part !== "").join("-");
}
