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

  constructor(context: ManagementContext) {
    this.#context = context;
  }

  /**
   * Makes or changes a cluster's profile, and takes away what the cluster had elsewhere.
   *
   * @param connected Whether agents are connected; undefined where nobody can say.
   */
  async ensure(cluster: ReadCluster, connected: Verdict | undefined): Promise<ProfileOutcome> {
    if (!cluster.spec!.clusterProfile.enabled) {
      await this.remove(cluster.key);
      return {};
    }
    const parts = this.#partsOf(cluster, connected);
    if ("verdict" in parts) return parts;
    const { world, client, digest, settings } = this.#context;
    if (world.isMissing("clusterProfiles")) {
      const message = "There is no kind ClusterProfile; install the CRD of cluster-inventory-api";
      return { verdict: no("CRDMissing", message), againMs: settings.checkMs };
    }
    const wanted = clusterProfile(parts, digest);
    const key = keyOf(wanted.metadata);
    const cached = world.get("clusterProfiles", key);
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

  /** Takes away a cluster's profiles. */
  async remove(owner: string): Promise<void> {
    await this.#removeOthers(owner, undefined);
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
    const { client, world } = this.#context;
    const status = profileStatus(parts, made);
    const isWritten = isEqual(ownStatusOf(made, parts.spec.accessProvider), status);
    const { name, namespace } = parts;
    const metadata = { name, namespace, uid: made.metadata.uid! };
    const written = isWritten
      ? made
      : await client.apply(clusterProfiles, { metadata, status: { ...status } }, "status");
    world.learn("clusterProfiles", written);
  }

  /** Takes away all profiles of a cluster but one. */
  async #removeOthers(owner: string, wanted: string | undefined): Promise<void> {
    const { client, world } = this.#context;
    for (const profile of [...world.values("clusterProfiles")]) {
      const { metadata } = profile;
      if (ownerOf(profile) !== owner || keyOf(metadata) === wanted) continue;
      await client.delete(clusterProfiles, metadata, metadata.uid!);
    }
  }
}
