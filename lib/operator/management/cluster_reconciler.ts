/** Makes a Cluster what its spec says: its entry at the relay, its Secret in Argo CD, its ClusterProfile. */
import { isConflict } from "../../kube/errors.ts";
import { partsOf } from "../../kube/objects.ts";
import { finalizer } from "../api/schema.ts";
import type { ClusterStatus } from "../api/cluster.ts";
import { clusters } from "../api/crds.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import { holdObject, isOrphaned, releaseObject, reportOrphaned } from "../finalizer.ts";
import { conditionsWithReady, writeStatus } from "../object_status.ts";
import { type ArgocdSecrets, inUse } from "./argocd_secrets.ts";
import type { ClusterEntries } from "./cluster_entries.ts";
import type { ClusterProfiles, ProfileOutcome } from "./cluster_profiles.ts";
import { type ReadCluster, readCluster } from "./cluster_table.ts";
import { isOfRelay, type ManagementContext } from "./management_context.ts";
import { RegisteredEntries } from "./registered_entries.ts";
import type { RelayAgent } from "./relay_view.ts";

/** The time that agents last came or went is written at most so often. */
const lastConnectedMs = 5 * 60_000;
/** How long kubelet and relay may take until the relay has read what is written, in milliseconds. */
const takeMs = 120_000;
const retryMs = 2_000;
const maxAgents = 100;

/** What is known of a cluster, for its status. */
interface Progress {
  readonly verdicts: Readonly<Record<string, Verdict>>;
  readonly argocdSecret?: string | undefined;
  readonly clusterProfile?: string | undefined;
  readonly againMs?: number | undefined;
}

/** Reconciles Clusters. */
export class ClusterReconciler {
  readonly #context: ManagementContext;
  readonly #entries: ClusterEntries;
  readonly #argocd: ArgocdSecrets;
  readonly #profiles: ClusterProfiles;
  readonly #registered: RegisteredEntries;

  constructor(
    context: ManagementContext,
    { entries, argocd, profiles }: {
      readonly entries: ClusterEntries;
      readonly argocd: ArgocdSecrets;
      readonly profiles: ClusterProfiles;
    },
  ) {
    this.#context = context;
    this.#entries = entries;
    this.#argocd = argocd;
    this.#profiles = profiles;
    this.#registered = new RegisteredEntries(context);
  }

  /** @returns after how many milliseconds the cluster wants to be looked at again */
  async reconcile(key: string): Promise<number | undefined> {
    const object = this.#context.caches.get("clusters", key);
    if (!object) return await this.#collect(key);
    const cluster = readCluster(object);
    if (cluster.isDeleted) return await this.#finalize(cluster);
    if (!cluster.spec) {
      const Accepted = this.#entries.verdict(cluster);
      await this.#writeStatus(cluster, { verdicts: { Accepted } });
      return undefined;
    }
    if (!await this.#ensureFinalizer(cluster)) return undefined;
    const progress = await this.#build(cluster);
    await this.#writeStatus(cluster, progress);
    return progress.againMs;
  }

  async #build(cluster: ReadCluster): Promise<Progress> {
    const Accepted = this.#entries.verdict(cluster);
    const isAccepted = Accepted.status === "True";
    const isPending = Accepted.reason === "PendingAcceptance";
    const { verdict: Programmed, againMs } = isAccepted || isPending
      ? await this.#program(cluster)
      : { verdict: no("NotAccepted", Accepted.message), againMs: undefined };
    // A cluster that the relay does not admit any more stays in Argo CD while it is in use there.
    const argocd = isAccepted
      ? await this.#argocd.ensure(cluster)
      : await this.#argocd.remove(cluster.key, cluster.spec!.argocd.keepWhileInUse);
    const ArgoCDReady = argocd.verdict ??
      (cluster.spec!.argocd.enabled ? no("NotAccepted", Accepted.message) : undefined);
    const Connected = this.#connected(cluster);
    const profile = await this.#ensureProfile(cluster, Accepted, Connected);
    return {
      verdicts: {
        Accepted,
        Programmed,
        ...Connected && { Connected },
        ...ArgoCDReady && { ArgoCDReady },
        ...profile.verdict && { ClusterProfileReady: profile.verdict },
      },
      argocdSecret: argocd.secret,
      clusterProfile: profile.profile,
      againMs: earlier(againMs, profile.againMs),
    };
  }

  async #ensureProfile(
    cluster: ReadCluster,
    { status, message }: Verdict,
    connected: Verdict | undefined,
  ): Promise<ProfileOutcome> {
    if (status === "True") return await this.#profiles.ensure(cluster, connected);
    const { clusterProfile, argocd } = cluster.spec!;
    const kept = await this.#profiles.remove(cluster.key, argocd.keepWhileInUse);
    if (kept.verdict || !clusterProfile.enabled) return kept;
    return { verdict: no("NotAccepted", message) };
  }

  async #program(
    cluster: ReadCluster,
  ): Promise<{ readonly verdict: Verdict; readonly againMs?: number }> {
    if (cluster.spec!.registrationToken !== undefined) {
      return await this.#registered.programmed(cluster);
    }
    const { verdict, writtenMs } = this.#entries.programmed(cluster);
    const { view } = this.#context;
    if (verdict.status !== "True" || !view || !isOfRelay(this.#context, cluster.object)) {
      return { verdict };
    }
    if (view.fault !== undefined) return { verdict };
    if (view.clusters.get(cluster.id)?.isConfigured) return { verdict: yes("Programmed") };
    const leftMs = takeMs - (performance.now() - writtenMs);
    if (leftMs > 0) {
      view.expect(cluster.id, performance.now() + leftMs);
      return { verdict: unknown("Programming", "The relay is about to read it"), againMs: leftMs };
    }
    const message = "The relay has not taken the entry; see its log, and whether it has mounted " +
      "the Secret";
    return { verdict: no("NotTaken", message) };
  }

  #connected(cluster: ReadCluster): Verdict | undefined {
    const { view } = this.#context;
    if (!view || !isOfRelay(this.#context, cluster.object)) return undefined;
    if (view.fault !== undefined) return unknown("RelayUnreachable", view.fault);
    const count = view.agents(cluster.id).length;
    if (count > 0) return yes("Connected");
    return no("NotConnected", "No agent of the cluster is connected to the relay");
  }

  /** What is outside the namespace, or at the relay, must be taken away. @returns false if it is gone */
  async #ensureFinalizer(cluster: ReadCluster): Promise<boolean> {
    const { object, spec } = cluster;
    const needsOne = spec!.argocd.enabled || spec!.clusterProfile.enabled ||
      spec!.registrationToken !== undefined;
    if (!needsOne || object.metadata.finalizers?.includes(finalizer)) return true;
    try {
      await holdObject(this.#context, clusters, "clusters", object);
      return true;
    } catch (error) {
      // Deleted or changed meanwhile: the watch tells.
      if (isConflict(error)) return false;
      throw error;
    }
  }

  async #finalize(cluster: ReadCluster): Promise<number | undefined> {
    const { object, spec } = cluster;
    if (!object.metadata.finalizers?.includes(finalizer)) return undefined;
    const keepWhileInUse = spec?.argocd.keepWhileInUse ?? true;
    const users = keepWhileInUse ? await this.#argocd.confirmedUsersOf(cluster.key) : [];
    if (users.length > 0) {
      const { argocdSecret, clusterProfile } = cluster.status;
      const verdicts = { ArgoCDReady: inUse(users) };
      await this.#writeStatus(cluster, { verdicts, argocdSecret, clusterProfile });
      return undefined;
    }
    const fault = await this.#registered.unregister(cluster);
    if (fault !== undefined && !isOrphaned(this.#context, object)) {
      await this.#writeStatus(cluster, { verdicts: { Programmed: no("CleanUpFailed", fault) } });
      return retryMs;
    }
    if (fault !== undefined) {
      await this.#reportOrphan(cluster, fault);
      this.#context.view?.drop(cluster.id);
    }
    await this.#argocd.remove(cluster.key, keepWhileInUse);
    await this.#profiles.remove(cluster.key, false);
    await releaseObject(this.#context.client, clusters, object);
    return undefined;
  }

  async #reportOrphan({ object, id }: ReadCluster, fault: string): Promise<void> {
    await reportOrphaned(this.#context.events, clusters, object, {
      action: "Finalize",
      note: `The entry ${id} was left behind at the relay: ${fault}`,
    });
  }

  /** What is left of a Cluster that went without its finalizer. */
  async #collect(key: string): Promise<number | undefined> {
    if (await this.#context.client.find(clusters, partsOf(key))) return undefined;
    await this.#argocd.remove(key, true);
    await this.#profiles.remove(key, true);
    return undefined;
  }

  async #writeStatus(cluster: ReadCluster, progress: Progress): Promise<void> {
    const { object, id, status: before } = cluster;
    const { generation } = object.metadata;
    const { view } = this.#context;
    const agents = view && isOfRelay(this.#context, cluster.object) && view.fault === undefined
      ? view.agents(id)
      : undefined;
    const status: ClusterStatus = {
      ...generation !== undefined && { observedGeneration: generation },
      id,
      ...progress.argocdSecret !== undefined && { argocdSecret: progress.argocdSecret },
      ...progress.clusterProfile !== undefined && { clusterProfile: progress.clusterProfile },
      ...connection(before, agents),
    };
    try {
      await writeStatus(this.#context, clusters, "clusters", object, {
        ...status,
        conditions: conditionsWithReady(progress.verdicts, object),
      });
    } catch (error) {
      if (!isConflict(error)) throw error;
    }
  }
}

/** The shorter of two waits; undefined is none. */
function earlier(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? one ?? other : Math.min(one, other);
}

/** What the status says of agents; while the relay can't be asked, what it said before. */
function connection(
  before: ClusterStatus,
  agents: readonly RelayAgent[] | undefined,
): Partial<ClusterStatus> {
  const { lastConnected } = before;
  const kept = lastConnected === undefined ? {} : { lastConnected };
  if (!agents) {
    const { agents, connectedAgents } = before;
    return {
      ...agents && { agents },
      ...connectedAgents !== undefined && { connectedAgents },
      ...kept,
    };
  }
  const shown = agents.slice(0, maxAgents).map(({ name, version, since }) => ({
    name,
    ...version !== undefined && { version },
    ...since !== undefined && { since },
  }));
  const hasChanged = JSON.stringify(before.agents ?? []) !== JSON.stringify(shown);
  const isOld = lastConnected === undefined ||
    Date.now() - Date.parse(lastConnected) >= lastConnectedMs;
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const isNew = hasChanged && isOld && (shown.length > 0 || lastConnected !== undefined);
  return {
    agents: shown,
    connectedAgents: agents.length,
    ...isNew ? { lastConnected: now } : kept,
  };
}
