/** What clusters must not share with each other: tokens, and hostnames that their agents may claim. */
import type { ClusterEntry } from "../domain/cluster.ts";

/** A cluster, its tokens' SHA-256 in hexadecimal, and its hostnames. */
export interface IndexedCluster {
  readonly id: string;
  readonly digests: readonly string[];
  readonly hostnames: readonly string[];
}

/** What two clusters have in common. */
export interface SharedKey {
  readonly field: "tokenSha256" | "hostnames";
  /** The other cluster. */
  readonly id: string;
}

/** Finds conflicts without looking at every cluster. */
export class ClusterIndex {
  readonly #byDigest = new Map<string, string>();
  readonly #byHostname = new Map<string, string>();
  /** Exact names below a domain: `a.example.com` below `example.com`. */
  readonly #below = new Map<string, Set<string>>();

  add({ id, digests, hostnames }: IndexedCluster): void {
    for (const digest of digests) this.#byDigest.set(digest, id);
    for (const name of hostnames) {
      this.#byHostname.set(name, id);
      if (isWildcard(name)) continue;
      const parent = parentOf(name);
      const names = this.#below.get(parent) ?? new Set();
      this.#below.set(parent, names.add(name));
    }
  }

  remove({ id, digests, hostnames }: IndexedCluster): void {
    for (const digest of digests) {
      if (this.#byDigest.get(digest) === id) this.#byDigest.delete(digest);
    }
    for (const name of hostnames) {
      if (this.#byHostname.get(name) !== id) continue;
      this.#byHostname.delete(name);
      const names = this.#below.get(parentOf(name));
      names?.delete(name);
      if (names?.size === 0) this.#below.delete(parentOf(name));
    }
  }

  /** The first thing that another cluster has too. */
  conflict({ id, digests, hostnames }: IndexedCluster): SharedKey | undefined {
    for (const digest of digests) {
      const other = this.#byDigest.get(digest);
      if (other !== undefined && other !== id) return { field: "tokenSha256", id: other };
    }
    for (const name of hostnames) {
      for (const overlapping of this.#overlapping(name)) {
        const other = this.#byHostname.get(overlapping);
        if (other !== undefined && other !== id) return { field: "hostnames", id: other };
      }
    }
    return undefined;
  }

  /** Names that may overlap one. A wildcard stands for one label. */
  #overlapping(name: string): Iterable<string> {
    if (!isWildcard(name)) return [name, `*.${parentOf(name)}`];
    return [name, ...this.#below.get(name.slice(2)) ?? []];
  }
}

function isWildcard(name: string): boolean {
  return name.startsWith("*.");
}

function parentOf(name: string): string {
  const dot = name.indexOf(".");
  return dot === -1 ? "" : name.slice(dot + 1);
}

/** What of an entry of the API is indexed: it has only digests of its tokens. */
export function indexed({ id, tokens, claims }: ClusterEntry): IndexedCluster {
  return {
    id,
    digests: tokens.map(({ tokenSha256 }) => tokenSha256).filter((it) => it !== undefined),
    hostnames: (claims?.hostnames ?? []).map(({ name }) => name),
  };
}
