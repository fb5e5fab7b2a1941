/** Clusters of one namespace compiled into the entries of their relay: a pure function. */
import { ConfigError } from "../../config/config_error.ts";
import { readClusters } from "../../config/entries/clusters.ts";
import { overlaps } from "../../config/entries/hostnames.ts";
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { type ClusterSpec, clusterSpec, type ClusterStatus } from "../api/cluster.ts";
import { no, type Verdict, yes } from "../conditions.ts";

/** A Cluster as this program reads it. */
export interface ReadCluster {
  /** `NAMESPACE/NAME`. */
  readonly key: string;
  readonly object: KubeObject;
  readonly id: string;
  /** Undefined when this program can't read it, as with an older definition of the kind. */
  readonly spec: ClusterSpec | undefined;
  readonly status: ClusterStatus;
  readonly isDeleted: boolean;
}

/** Reads an object. */
export function readCluster(object: KubeObject): ReadCluster {
  const { data } = clusterSpec.safeParse(object["spec"]);
  return {
    key: keyOf(object.metadata),
    object,
    id: data?.id ?? object.metadata.name,
    spec: data,
    status: (object["status"] ?? {}) as ClusterStatus,
    isDeleted: object.metadata.deletionTimestamp !== undefined,
  };
}

/** What a relay's clusters come to. */
export interface ClusterTable {
  /** File names and texts of the relay's folder of clusters. */
  readonly files: ReadonlyMap<string, string>;
  /** By key: whether each Cluster counts. */
  readonly verdicts: ReadonlyMap<string, Verdict>;
}

/** Lets everybody in; no policy needs to be there for it. */
const publicPolicy = "public";
/** A folder without a file is a mistake to the relay. */
const emptyFile = { name: "none.json", text: "[]\n" };

/** The name of an entry's file. */
export function fileOf(id: string): string {
  return `${id}.json`;
}

/**
 * Compiles the Clusters of one namespace. Of two that have an id, a token or a hostname in common, the
 * older counts: an entry that the relay refuses would hold up all others.
 */
export function compileClusters(
  clusters: readonly ReadCluster[],
  hasPolicy: (name: string) => boolean = () => true,
): ClusterTable {
  const files = new Map<string, string>();
  const verdicts = new Map<string, Verdict>();
  const taken = new Taken();
  for (const cluster of [...clusters].sort(byAge)) {
    const verdict = verdictOf(cluster, taken, hasPolicy);
    verdicts.set(cluster.key, verdict);
    if (verdict.status !== "True") continue;
    taken.add(cluster);
    if (cluster.spec!.registrationToken !== undefined) continue;
    files.set(fileOf(cluster.id), `${JSON.stringify(entryOf(cluster.id, cluster.spec!))}\n`);
  }
  if (files.size === 0) files.set(emptyFile.name, emptyFile.text);
  return { files, verdicts };
}

function byAge({ object: a }: ReadCluster, { object: b }: ReadCluster): number {
  const [one, other] = [a, b].map(({ metadata }) =>
    `${metadata.creationTimestamp} ${metadata.name}`
  );
  return one! < other! ? -1 : 1;
}

function verdictOf(
  { spec, id, key }: ReadCluster,
  taken: Taken,
  hasPolicy: (name: string) => boolean,
): Verdict {
  if (!spec) return no("InvalidSpec", "The spec can't be read; upgrade the CRDs");
  const conflict = taken.conflict(id, spec, key);
  if (conflict !== undefined) return no("Conflict", conflict);
  const missing = [spec.policy, spec.callerPolicy].find((name) =>
    name !== undefined && name !== publicPolicy && !hasPolicy(name)
  );
  if (missing !== undefined) return no("PolicyMissing", `The relay has no policy ${missing}`);
  if (spec.registrationToken === undefined) {
    try {
      readClusters(JSON.stringify([entryOf(id, spec)]), "Cluster", { demandsCertificate: true });
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return no("InvalidSpec", error.message);
    }
  }
  if (spec.accepted) return yes("Accepted");
  return spec.registrationToken === undefined
    ? no("NotAccepted", "spec.accepted is false")
    : no("PendingAcceptance", "The cluster has registered; set spec.accepted to true to admit it");
}

/** The entry of the relay's clusters file. */
export function entryOf(id: string, spec: ClusterSpec): Readonly<Record<string, unknown>> {
  const { tokens = [], targets = [], hosts, policy, callerPolicy, limits } = spec;
  const { certificateNames, impersonation } = spec;
  return {
    id,
    tokens: tokens.map(({ name, sha256, expires }) => ({
      name,
      tokenSha256: sha256,
      ...expires !== undefined && { expires },
    })),
    ...targets[0] !== undefined && { targetAddr: targets[0] },
    ...hosts && { hostnames: hosts, policy },
    ...callerPolicy !== undefined && { callerPolicy },
    ...certificateNames && { certificateName: certificateNames },
    ...impersonation !== undefined && { impersonation },
    ...limits && { limits },
  };
}

/** What older Clusters have. */
class Taken {
  readonly #ids = new Map<string, string>();
  readonly #digests = new Map<string, string>();
  readonly #hosts = new Map<string, string>();

  add({ id, spec, key }: ReadCluster): void {
    this.#ids.set(id, key);
    for (const { sha256 } of spec?.tokens ?? []) this.#digests.set(sha256, key);
    for (const host of spec?.hosts ?? []) this.#hosts.set(host, key);
  }

  conflict(id: string, { tokens = [], hosts = [] }: ClusterSpec, key: string): string | undefined {
    const sameId = this.#ids.get(id);
    if (sameId !== undefined) return `Cluster ${sameId} has the id ${id} already`;
    for (const { name, sha256 } of tokens) {
      const owner = this.#digests.get(sha256);
      if (owner !== undefined) return `Cluster ${owner} has the token ${name} already`;
    }
    for (const [taken, owner] of hosts.length > 0 ? this.#hosts : []) {
      const host = hosts.find((host) => overlaps(host, taken));
      if (host !== undefined && owner !== key) return `Cluster ${owner} has the hostname ${host}`;
    }
    return undefined;
  }
}
