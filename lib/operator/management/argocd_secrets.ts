/** Argo CD's Secret of each Cluster: made, kept in step, kept while it is in use, and taken away. */
import { isNotFound } from "../../kube/errors.ts";
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { secrets } from "../../kube/resources.ts";
import { includes } from "../applied.ts";
import { no, type Verdict, yes } from "../conditions.ts";
import { applicationsOf, argocdApplications, argocdSecret, rivalOf, serverOf } from "./argocd.ts";
import { ownerOf } from "./cluster_owner.ts";
import { serversOf } from "./cluster_profile.ts";
import type { ReadCluster } from "./cluster_table.ts";
import {
  isOfRelay,
  type ManagementContext,
  namespaceFor,
  notOfRelay,
  relayUrlOf,
} from "./management_context.ts";

/** Applications that a message names. */
const maxNames = 5;

/** What became of a cluster's Secret. */
export interface ArgocdOutcome {
  /** Undefined where Argo CD is to have none, and has none. */
  readonly verdict: Verdict | undefined;
  /** `NAMESPACE/NAME` of the Secret that is there. */
  readonly secret?: string;
}

/** Reconciles the Secrets. */
export class ArgocdSecrets {
  readonly #context: ManagementContext;

  constructor(context: ManagementContext) {
    this.#context = context;
  }

  /** Makes or changes a cluster's Secret, and takes away what the cluster had elsewhere. */
  async ensure(cluster: ReadCluster): Promise<ArgocdOutcome> {
    const argocd = cluster.spec!.argocd;
    if (!argocd.enabled) return await this.remove(cluster.key, argocd.keepWhileInUse);
    if (!isOfRelay(this.#context, cluster.object)) return await this.#refuse(cluster);
    const { settings, credentials, caches, client, digest } = this.#context;
    const place = namespaceFor(argocd.namespace, {
      option: "--argocd-namespaces",
      allowed: settings.argocdNamespaces,
    });
    if ("verdict" in place) return place;
    const { namespace } = place;
    const known = credentials.known;
    if (!known) return verdict(credentials.missing);
    const parts = {
      ...{ owner: cluster.key, id: cluster.id, namespace, spec: argocd, credentials: known },
      relayUrl: relayUrlOf(settings, known),
    };
    const rival = rivalOf(parts, caches.values("argocdSecrets"));
    if (rival !== undefined) {
      return verdict(no("Conflict", `Secret ${rival} is for the same cluster and is not ours`));
    }
    const wanted = await argocdSecret(parts, digest);
    const key = keyOf(wanted.metadata);
    const cached = caches.get("argocdSecrets", key);
    // Only Argo CD's Secrets are in the cache: another kind of Secret may have the name.
    const there = cached ?? await client.find(secrets, wanted.metadata);
    if (there && ownerOf(there) !== cluster.key) {
      return verdict(no("Conflict", `Secret ${key} is there already and is not ours`));
    }
    if (!cached || !isAsWanted(cached, wanted, parts)) {
      caches.learn("argocdSecrets", await client.apply(secrets, wanted));
    }
    await this.#removeOthers(cluster.key, argocd.keepWhileInUse, key);
    return { verdict: yes("Synced", `In Secret ${key}`), secret: key };
  }

  /** The Secret would hold the relay's credentials, and its server would be another's to choose. */
  async #refuse({ key, spec }: ReadCluster): Promise<ArgocdOutcome> {
    const { verdict: kept, secret } = await this.remove(key, spec!.argocd.keepWhileInUse);
    const refused = notOfRelay(this.#context, "A Cluster that is to be in Argo CD");
    return { verdict: kept ?? refused, ...secret !== undefined && { secret } };
  }

  /** Takes away a cluster's Secrets, unless Applications use them. */
  async remove(owner: string, keepWhileInUse: boolean): Promise<ArgocdOutcome> {
    const kept = await this.#removeOthers(owner, keepWhileInUse, undefined);
    return kept ? { verdict: inUse(kept.users), secret: kept.key } : verdict(undefined);
  }

  /** Applications that are known to use a cluster, through its Secrets or its ClusterProfiles. */
  usersOf(owner: string): readonly string[] {
    return [...this.#secretsOf(owner), ...this.#profiledOf(owner)]
      .flatMap((secret) => this.#knownUsers(secret));
  }

  /** The same before a deletion: that there are none is confirmed by a new request. */
  async confirmedUsersOf(owner: string): Promise<readonly string[]> {
    return await this.#confirmedUsersOfAll([
      ...this.#secretsOf(owner),
      ...this.#profiledOf(owner),
    ]);
  }

  /** Applications that use a cluster through its ClusterProfiles, confirmed. */
  async confirmedProfileUsersOf(owner: string): Promise<readonly string[]> {
    return await this.#confirmedUsersOfAll(this.#profiledOf(owner));
  }

  /** The Cluster that an Application uses through a Secret. */
  ownerThrough(secret: KubeObject): string | undefined {
    const own = ownerOf(secret);
    if (own !== undefined) return own;
    for (const profile of this.#context.caches.values("clusterProfiles")) {
      if (serversOf(profile).includes(secret["server"])) return ownerOf(profile);
    }
    return undefined;
  }

  async #confirmedUsersOfAll(secrets: readonly KubeObject[]): Promise<readonly string[]> {
    const users = await Promise.all(secrets.map((secret) => this.#confirmedUsers(secret)));
    return [...new Set(users.flat())];
  }

  #knownUsers(secret: KubeObject): readonly string[] {
    return applicationsOf(secret, this.#context.caches.values("applications"));
  }

  async #confirmedUsers(secret: KubeObject): Promise<readonly string[]> {
    const known = this.#knownUsers(secret);
    if (known.length > 0) return known;
    const { caches, client } = this.#context;
    const { namespace } = secret.metadata;
    try {
      const { items } = await client.list(argocdApplications, { namespace });
      for (const application of items) caches.learn("applications", application);
    } catch (error) {
      // Without Argo CD there are no Applications.
      if (!isNotFound(error)) throw error;
    }
    return this.#knownUsers(secret);
  }

  #secretsOf(owner: string): KubeObject[] {
    return [...this.#context.caches.values("argocdSecrets")]
      .filter((secret) => ownerOf(secret) === owner);
  }

  /** Secrets that others have made from a cluster's ClusterProfiles, and delete with them. */
  #profiledOf(owner: string): KubeObject[] {
    const { caches } = this.#context;
    const servers = new Set(
      [...caches.values("clusterProfiles")].filter((profile) => ownerOf(profile) === owner)
        .flatMap(serversOf),
    );
    return [...caches.values("argocdSecrets")]
      .filter((secret) => ownerOf(secret) === undefined && servers.has(secret["server"]));
  }

  /** Takes away all Secrets of a cluster but one. @returns one that is in use and stays */
  async #removeOthers(
    owner: string,
    keepWhileInUse: boolean,
    wanted: string | undefined,
  ): Promise<{ readonly key: string; readonly users: readonly string[] } | undefined> {
    const { client } = this.#context;
    let kept: { key: string; users: readonly string[] } | undefined;
    for (const secret of this.#secretsOf(owner)) {
      const key = keyOf(secret.metadata);
      if (key === wanted) continue;
      const users = keepWhileInUse ? await this.#confirmedUsers(secret) : [];
      if (users.length > 0) kept = { key, users };
      else await client.delete(secrets, secret.metadata, secret.metadata.uid!);
    }
    return kept;
  }
}

/** What a cluster in use is said to be. */
export function inUse(users: readonly string[]): Verdict {
  const names = users.slice(0, maxNames).join(", ") + (users.length > maxNames ? ", …" : "");
  const count = users.length === 1 ? "1 Application uses" : `${users.length} Applications use`;
  return no("InUse", `${count} the cluster: ${names}; it stays in Argo CD until they are gone`);
}

function verdict(it: Verdict | undefined): ArgocdOutcome {
  return { verdict: it };
}

/** The cache keeps no credentials: the digest of what was applied stands for them. */
function isAsWanted(
  cached: KubeObject,
  { metadata }: KubeObject,
  place: { readonly id: string; readonly relayUrl: string },
): boolean {
  return includes(cached, {
    metadata: { labels: metadata.labels, annotations: metadata.annotations },
    name: place.id,
    server: serverOf(place),
  });
}
