/** The ClusterProfile of each Cluster: made, kept in step, and taken away. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { includes, isEqual } from "../applied.ts";
import { no, type Verdict, yes } from "../conditions.ts";
import {
  clusterProfile,
  clusterProfiles,
  ownStatusOf,
  type ProfileParts,
  profileStatus,
} from "./cluster_profile.ts";
import { type ArgocdSecrets, inUse } from "./argocd_secrets.ts";
import { ownerOf } from "./cluster_owner.ts";
import type { ReadCluster } from "./cluster_table.ts";
import {
  isOfRelay,
  type ManagementContext,
  namespaceFor,
  notOfRelay,
  relayUrlOf,
} from "./management_context.ts";

/** What became of a cluster's profile. */
export interface ProfileOutcome {
  /** Undefined where there is to be none. */
  readonly verdict?: Verdict;
  /** `NAMESPACE/NAME` of the profile that is there. */
  readonly profile?: string;
  /** When to look again for what nothing tells about. */
  readonly againMs?: number;
}

/** Reconciles the profiles. */
export class ClusterProfiles {
  readonly #context: ManagementContext;
  readonly #argocd: ArgocdSecrets;

  constructor(context: ManagementContext, argocd: ArgocdSecrets) {
    this.#context = context;
    this.#argocd = argocd;
  }

  /**
   * Makes or changes a cluster's profile, and takes away what the cluster had elsewhere.
   *
   * @param connected Whether agents are connected; undefined where nobody can say.
   */
  async ensure(cluster: ReadCluster, connected: Verdict | undefined): Promise<ProfileOutcome> {
    const { clusterProfile: { enabled }, argocd: { keepWhileInUse } } = cluster.spec!;
    if (!enabled) return await this.remove(cluster.key, keepWhileInUse);
    const parts = this.#partsOf(cluster, connected);
    if ("verdict" in parts) return parts;
    const { caches, client, digest, settings } = this.#context;
    if (caches.isMissing("clusterProfiles")) {
      const message = "There is no kind ClusterProfile; install the CRD of cluster-inventory-api";
      return { verdict: no("CRDMissing", message), againMs: settings.checkMs };
    }
    const wanted = clusterProfile(parts, digest);
    const key = keyOf(wanted.metadata);
    const cached = caches.get("clusterProfiles", key);
    const there = cached ?? await client.find(clusterProfiles, wanted.metadata);
    if (there && ownerOf(there) !== cluster.key) {
      return { verdict: no("Conflict", `ClusterProfile ${key} is there already and is not ours`) };
    }
    const made = there && includes(there, wanted)
      ? there
      : await client.apply(clusterProfiles, wanted);
    await this.#writeStatus(parts, made);
    await this.#removeOthers(cluster.key, key);
    return { verdict: yes("Published", `In ClusterProfile ${key}`), profile: key };
  }

  /**
   * Takes away a cluster's profiles, unless Applications use it through one: Argo CD's integration deletes
   * the Secret that it has made from a profile with the profile, whoever uses it.
   */
  async remove(owner: string, keepWhileInUse: boolean): Promise<ProfileOutcome> {
    const users = keepWhileInUse ? await this.#argocd.confirmedProfileUsersOf(owner) : [];
    const [profile] = this.#profilesOf(owner);
    if (users.length > 0 && profile) {
      return { verdict: inUse(users), profile: keyOf(profile.metadata) };
    }
    await this.#removeOthers(owner, undefined);
    return {};
  }

  #partsOf(
    cluster: ReadCluster,
    connected: Verdict | undefined,
  ): ProfileParts | { readonly verdict: Verdict } {
    const { settings, credentials } = this.#context;
    const { clusterProfile: spec } = cluster.spec!;
    if (!isOfRelay(this.#context, cluster.object)) {
      return { verdict: notOfRelay(this.#context, "A Cluster that is to have a ClusterProfile") };
    }
    const place = namespaceFor(spec.namespace, {
      option: "--cluster-profile-namespaces",
      allowed: settings.clusterProfileNamespaces,
    });
    if ("verdict" in place) return place;
    const { known } = credentials;
    if (!known) return { verdict: credentials.missing };
    return {
      ...{
        owner: cluster.key,
        id: cluster.id,
        name: cluster.object.metadata.name,
        spec,
        connected,
      },
      ...place,
      credentials: known,
      relayUrl: relayUrlOf(settings, known),
    };
  }

  async #writeStatus(parts: ProfileParts, made: KubeObject): Promise<void> {
    const { client, caches } = this.#context;
    const status = profileStatus(parts, made);
    const isWritten = isEqual(ownStatusOf(made, parts.spec.accessProvider), status);
    const { name, namespace } = parts;
    const metadata = { name, namespace, uid: made.metadata.uid! };
    const written = isWritten
      ? made
      : await client.apply(clusterProfiles, { metadata, status: { ...status } }, "status");
    caches.learn("clusterProfiles", written);
  }

  /** Takes away all profiles of a cluster but one. */
  async #removeOthers(owner: string, wanted: string | undefined): Promise<void> {
    for (const { metadata } of this.#profilesOf(owner)) {
      if (keyOf(metadata) === wanted) continue;
      await this.#context.client.delete(clusterProfiles, metadata, metadata.uid!);
    }
  }

  #profilesOf(owner: string): KubeObject[] {
    return [...this.#context.caches.values("clusterProfiles")]
      .filter((profile) => ownerOf(profile) === owner);
  }
}
