/** The entry of a cluster that has registered by itself: accepted by its Cluster, removed with it. */
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import { RelayRefusal, RelayUnreachable } from "../relay/relay_api.ts";
import { type ReadCluster, readCluster } from "./cluster_table.ts";
import {
  inNamespace,
  isOfRelay,
  type ManagementContext,
  notOfRelay,
} from "./management_context.ts";

/** Looks after them. */
export class RegisteredEntries {
  readonly #context: ManagementContext;

  constructor(context: ManagementContext) {
    this.#context = context;
  }

  /** A cluster that has registered by itself: the relay has its entry, and the hub accepts it. */
  async programmed(
    cluster: ReadCluster,
  ): Promise<{ readonly verdict: Verdict; readonly againMs?: number }> {
    if (!isOfRelay(this.#context, cluster.object)) {
      return { verdict: notOfRelay(this.#context, "A Cluster with registrationToken") };
    }
    const { view } = this.#context;
    if (!view) {
      return { verdict: unknown("NoAdminApi", "Needs --relay-admin-url to look at the relay") };
    }
    if (view.fault !== undefined) {
      return { verdict: unknown("RelayUnreachable", view.fault) };
    }
    const entry = view.clusters.get(cluster.id);
    if (!entry) return { verdict: no("NotRegistered", "The relay has no entry of this id") };
    const { accepted } = cluster.spec!;
    if (entry.isAccepted === accepted) {
      return {
        verdict: accepted
          ? yes("Registered")
          : no("PendingAcceptance", "The relay refuses the cluster's agents until it is accepted"),
      };
    }
    try {
      await this.#setAccepted(cluster, accepted);
      view.refresh();
      return { verdict: unknown("Programming", "The relay has been told") };
    } catch (error) {
      if (error instanceof RelayUnreachable) {
        return {
          verdict: unknown("RelayUnreachable", error.message),
          againMs: error.retryAfterMs,
        };
      }
      if (!(error instanceof RelayRefusal)) throw error;
      return { verdict: no("Refused", error.message) };
    }
  }

  async #setAccepted({ id }: ReadCluster, accepted: boolean): Promise<void> {
    const { relays, view } = this.#context;
    const access = view?.access;
    if (!access) return;
    const entry = await relays.find(access, "clusters", id);
    if (entry) await relays.put(access, "clusters", id, { ...entry, accepted });
  }

  /** Deletes a registered cluster's entry at the relay. @returns why it could not */
  async unregister(cluster: ReadCluster): Promise<string | undefined> {
    const { id } = cluster;
    const { view, relays } = this.#context;
    if (!view || !this.#hasRegistered(cluster)) return undefined;
    const access = view.access;
    if (!access) return "The operator has no token for the relay's admin API yet";
    try {
      // Asked now: before the view's first answer, and where the owner has changed since, going by the
      // view would leave the entry, and the cluster admitted.
      const entry = await relays.find(access, "clusters", id);
      if (entry) await relays.delete(access, "clusters", id, ownerOf(entry));
      view.drop(id);
      return undefined;
    } catch (error) {
      if (!(error instanceof RelayRefusal) && !(error instanceof RelayUnreachable)) throw error;
      return error.message;
    }
  }

  /** Whether a Cluster may delete the relay's entry: one that has another's id may not. */
  #hasRegistered({ id, key, spec, object }: ReadCluster): boolean {
    if (spec?.registrationToken === undefined || !isOfRelay(this.#context, object)) return false;
    const { caches, settings } = this.#context;
    const others = inNamespace(caches.values("clusters"), settings.namespace).map(readCluster)
      .filter((other) => other.key !== key && other.id === id && !other.isDeleted);
    return others.every((other) => other.spec?.registrationToken === undefined);
  }
}

function ownerOf({ owner }: Readonly<Record<string, unknown>>): string | undefined {
  return typeof owner === "string" ? owner : undefined;
}
