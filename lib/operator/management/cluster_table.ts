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

const knownClusters = new WeakMap<KubeObject, ReadCluster>();

/** Reads an object; a cache's objects are read once, as there may be thousands. */
export function readCluster(object: KubeObject): ReadCluster {
  const known = knownClusters.get(object) ?? readAnew(object);
  knownClusters.set(object, known);
  return known;
}

function readAnew(object: KubeObject): ReadCluster {
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
  /** Whether each Cluster counts, by its key. */
  readonly verdicts: ReadonlyMap<string, Verdict>;
}

/** Lets everybody in; no policy needs to be there for it. */
const publicPolicy = "public";
/** A folder without a file is a mistake to the relay. */
const emptyFile = { name: "none.json", text: "[]\n" };

const fileEnding = ".json";
/** A key of a Secret has 253 characters at most. */
const maxNameCharacters = 253 - fileEnding.length;

/** The name of a Cluster's file. */
export function fileOf({ object }: ReadCluster): string {
  return object.metadata.name + fileEnding;
}

/** The name of the Cluster that a file was made for; undefined for a file that is for none. */
export function clusterOfFile(file: string, text: string): string | undefined {
  const isEntry = file.endsWith(fileEnding) && text !== emptyFile.text;
  return isEntry ? file.slice(0, -fileEnding.length) : undefined;
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
    files.set(fileOf(cluster), `${JSON.stringify(entryOf(cluster.id, cluster.spec!))}\n`);
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
  { spec, id, key, object }: ReadCluster,
  taken: Taken,
  hasPolicy: (name: string) => boolean,
): Verdict {
  if (!spec) return no("InvalidSpec", "The spec can't be read; upgrade the CRDs");
  if (object.metadata.name.length > maxNameCharacters) {
    return no("InvalidSpec", `The Cluster's name has more than ${maxNameCharacters} characters`);
  }
  const conflict = taken.conflict(id, spec, key);
  if (conflict !== undefined) return no("Conflict", conflict);
  const missing = [spec.policy, spec.callerPolicy].find((name) =>
    name !== undefined && name !== publicPolicy && !hasPolicy(name)
  );
  if (missing !== undefined) return no("PolicyMissing", `The relay has no policy ${missing}`);
  const fault = spec.registrationToken === undefined ? entryFault(id, spec) : "";
  if (fault !== "") return no("InvalidSpec", fault);
  if (spec.accepted) return yes("Accepted");
  return spec.registrationToken === undefined
    ? no("NotAccepted", "spec.accepted is false")
    : no("PendingAcceptance", "The cluster has registered; set spec.accepted to true to admit it");
}

const knownFaults = new WeakMap<ClusterSpec, string>();

/** Why the relay would refuse an entry; empty if it would not. */
function entryFault(id: string, spec: ClusterSpec): string {
  const known = knownFaults.get(spec);
  if (known !== undefined) return known;
  let fault = "";
  try {
    readClusters(JSON.stringify([entryOf(id, spec)]), "Cluster", { demandsCertificate: true });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    fault = error.message;
  }
  knownFaults.set(spec, fault);
  return fault;
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
