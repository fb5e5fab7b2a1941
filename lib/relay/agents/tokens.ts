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

  private constructor(entries: readonly HashedToken[], fingerprints: ReadonlyMap<string, string>) {
    this.#inConstantTime = new DigestTable(entries);
    this.#byDigest = new Map(entries.map(({ digest, value }) => [digest.toHex(), value]));
    this.#fingerprints = fingerprints;
  }

  /**
   * Hashes what is not hashed already.
   *
   * @throws {SameTokenError} that names two clusters which share a token
   */
  static async from(clusters: readonly ClusterEntry[]): Promise<TokenTable> {
    const hashed = await Promise.all(clusters.map(hashTokens));
    refuseTwins(hashed.flat());
    const fingerprints = clusters.map(({ tokens: _, ...cluster }, index): [string, string] => {
      const tokens = hashed[index]!.map((
        { digest, value: { tokenName, expiresMs } },
      ) => [tokenName, digest.toHex(), String(expiresMs)]);
      return [cluster.id, JSON.stringify([cluster, tokens])];
    });
    return new TokenTable(hashed.flat(), new Map(fingerprints));
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

type HashedToken = DigestEntry<TokenMatch>;

async function hashTokens({ tokens, ...cluster }: ClusterEntry): Promise<HashedToken[]> {
  return await Promise.all(tokens.map(async (token) => ({
    digest: await digestOf(token),
    value: { cluster, tokenName: token.name, expiresMs: token.expiresMs ?? Infinity },
  })));
}

function refuseTwins(entries: readonly HashedToken[]): void {
  const owners = new Map<string, TokenMatch>();
  for (const { digest, value } of entries) {
    const key = digest.toHex();
    const owner = owners.get(key);
    if (owner) {
      throw new SameTokenError(
        `Token ${nameOf(owner)} is also token ${nameOf(value)}; each needs its own`,
      );
    }
    owners.set(key, value);
  }
}

function nameOf({ cluster, tokenName }: TokenMatch): string {
  return `"${tokenName}" of cluster "${cluster.id}"`;
}
