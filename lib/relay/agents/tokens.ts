/** Agents' tokens: which cluster each belongs to. */
import { type DigestEntry, digestOf, DigestTable } from "../digests.ts";
import type { Cluster, ClusterEntry } from "../../domain/cluster.ts";

/** What a token that an agent showed turned out to be. */
export interface TokenMatch {
  readonly cluster: Cluster;
  readonly tokenName: string;
  /** Milliseconds since 1970; infinite for a token that does not expire. */
  readonly expiresMs: number;
}

/** One token is in two places, of which one may have only its digest. */
export class SameTokenError extends Error {
  override readonly name = "SameTokenError";
}

/** Which cluster a token belongs to. A table does not change: a new configuration is a new one. */
export class TokenTable {
  readonly #inConstantTime: DigestTable<TokenMatch>;
  readonly #byDigest: ReadonlyMap<string, TokenMatch>;
  /** All there is to know about each cluster, by its id, as a text to be compared. */
  readonly #fingerprints: ReadonlyMap<string, string>;

  private constructor(clusters: readonly HashedCluster[]) {
    const byDigest = new Map<string, TokenMatch>();
    const entries: HashedToken[] = [];
    for (const { tokens } of clusters) {
      for (const token of tokens) {
        const same = byDigest.get(token.hex);
        if (same) throw sameToken(same, token.value);
        byDigest.set(token.hex, token.value);
        entries.push(token);
      }
    }
    this.#inConstantTime = new DigestTable(entries);
    this.#byDigest = byDigest;
    this.#fingerprints = new Map(clusters.map(({ id, fingerprint }) => [id, fingerprint]));
  }

  /**
   * Hashes what is not hashed already.
   *
   * @throws {SameTokenError} that names two clusters which share a token
   */
  static async from(clusters: readonly ClusterEntry[]): Promise<TokenTable> {
    const isNew = clusters.filter((cluster) => !hashed.has(cluster));
    await Promise.all(
      isNew.map(async (cluster) => hashed.set(cluster, await hashCluster(cluster))),
    );
    return new TokenTable(clusters.map((cluster) => hashed.get(cluster)!));
  }

  /** How many clusters there are. */
  get size(): number {
    return this.#fingerprints.size;
  }

  /** What the token with this digest is, expired or not, or nothing; in constant time. */
  find(digest: Uint8Array): TokenMatch | undefined {
    return this.#inConstantTime.find(digest);
  }

  /** The same for a token that was found before, in another table perhaps: many can be looked up. */
  get(digest: Uint8Array): TokenMatch | undefined {
    return this.#byDigest.get(digest.toHex());
  }

  /** How many clusters `next` has in addition to those of this table, has not, and has otherwise. */
  changesTo(next: TokenTable): { added: number; removed: number; changed: number } {
    let [added, changed] = [0, 0];
    for (const [id, fingerprint] of next.#fingerprints) {
      const before = this.#fingerprints.get(id);
      if (before === undefined) added++;
      else if (before !== fingerprint) changed++;
    }
    return { added, removed: this.size + added - next.size, changed };
  }
}

/** A token, and its digest in hexadecimal. */
interface HashedToken extends DigestEntry<TokenMatch> {
  readonly hex: string;
}

/** What a table has of a cluster. */
interface HashedCluster {
  readonly id: string;
  readonly tokens: readonly HashedToken[];
  readonly fingerprint: string;
}

/** The digests of entries in use, so that a change of one of ten thousand entries hashes only that one. */
const hashed = new WeakMap<ClusterEntry, HashedCluster>();

async function hashCluster({ tokens, ...cluster }: ClusterEntry): Promise<HashedCluster> {
  const hashedTokens = await Promise.all(tokens.map(async (token): Promise<HashedToken> => {
    const digest = await digestOf(token);
    const value = { cluster, tokenName: token.name, expiresMs: token.expiresMs ?? Infinity };
    return { digest, hex: digest.toHex(), value };
  }));
  const about = hashedTokens.map((
    { hex, value: { tokenName, expiresMs } },
  ) => [tokenName, hex, String(expiresMs)]);
  return {
    id: cluster.id,
    tokens: hashedTokens,
    fingerprint: JSON.stringify([cluster, about]),
  };
}

function sameToken(owner: TokenMatch, value: TokenMatch): SameTokenError {
  return new SameTokenError(
    `Token ${nameOf(owner)} is also token ${nameOf(value)}; each needs its own`,
  );
}

function nameOf({ cluster, tokenName }: TokenMatch): string {
  return `"${tokenName}" of cluster "${cluster.id}"`;
}
