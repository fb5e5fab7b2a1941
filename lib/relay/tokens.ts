/** Agents' tokens: compared in constant time, never kept in the clear. */
import type { Cluster } from "./registry.ts";

/** A cluster and the tokens of its agents, as the configuration has them. */
export interface ClusterTokens extends Cluster {
  readonly tokens: readonly ClusterToken[];
}

/** A token: itself, or `tokenSha256`. */
export interface ClusterToken {
  /** For logs. */
  readonly name: string;
  readonly token?: string | undefined;
  /** 64 hexadecimal digits. */
  readonly tokenSha256?: string | undefined;
  /** Milliseconds since 1970 from which the token is not accepted any more; absent for never. */
  readonly expiresMs?: number | undefined;
}

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

/** SHA-256 is compared as so many numbers of 32 bits. */
const wordsPerDigest = 8;

/** Which cluster a token belongs to. A table does not change: a new configuration is a new one. */
export class TokenTable {
  readonly #matches: readonly TokenMatch[];
  /** Digests of {@link #matches}, one behind the other: 10,000 of them are compared in 0.1 ms. */
  readonly #words: Uint32Array;
  readonly #byDigest: ReadonlyMap<string, TokenMatch>;
  /** All there is to know about each cluster, by its id, as a text to be compared. */
  readonly #fingerprints: ReadonlyMap<string, string>;

  private constructor(entries: readonly HashedToken[], fingerprints: ReadonlyMap<string, string>) {
    this.#matches = entries.map(({ match }) => match);
    this.#byDigest = new Map(entries.map(({ digest, match }) => [digest.toHex(), match]));
    this.#fingerprints = fingerprints;
    this.#words = new Uint32Array(entries.length * wordsPerDigest);
    for (const [index, { digest }] of entries.entries()) {
      this.#words.set(wordsOf(digest), index * wordsPerDigest);
    }
  }

  /**
   * Hashes what is not hashed already.
   *
   * @throws {SameTokenError} that names two clusters which share a token
   */
  static async from(clusters: readonly ClusterTokens[]): Promise<TokenTable> {
    const hashed = await Promise.all(clusters.map(hashTokens));
    refuseTwins(hashed.flat());
    const fingerprints = clusters.map(({ tokens: _, ...cluster }, index): [string, string] => {
      const tokens = hashed[index]!.map((
        { digest, match: { tokenName, expiresMs } },
      ) => [tokenName, digest.toHex(), String(expiresMs)]);
      return [cluster.id, JSON.stringify([cluster, tokens])];
    });
    return new TokenTable(hashed.flat(), new Map(fingerprints));
  }

  /** How many clusters there are. */
  get size(): number {
    return this.#fingerprints.size;
  }

  /**
   * What the token with this digest is, expired or not, or nothing; for a token that is shown.
   *
   * Every entry is compared, all 32 bytes of it, so that the time taken says neither how much of a
   * guess was right nor which entry it came close to.
   */
  find(digest: Uint8Array): TokenMatch | undefined {
    const [a, b, c, d, e, f, g, h] = wordsOf(digest);
    const words = this.#words;
    let found: TokenMatch | undefined;
    for (let index = 0, at = 0; index < this.#matches.length; index++, at += wordsPerDigest) {
      const difference = (words[at]! ^ a!) | (words[at + 1]! ^ b!) | (words[at + 2]! ^ c!) |
        (words[at + 3]! ^ d!) | (words[at + 4]! ^ e!) | (words[at + 5]! ^ f!) |
        (words[at + 6]! ^ g!) | (words[at + 7]! ^ h!);
      if (difference === 0) found = this.#matches[index];
    }
    return found;
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

interface HashedToken {
  readonly digest: Uint8Array;
  readonly match: TokenMatch;
}

async function hashTokens({ tokens, ...cluster }: ClusterTokens): Promise<HashedToken[]> {
  return await Promise.all(tokens.map(async (token) => ({
    digest: await digestOf(token),
    match: { cluster, tokenName: token.name, expiresMs: token.expiresMs ?? Infinity },
  })));
}

/** The SHA-256 of a token, by which it is known. */
export async function digestToken(token: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
}

/** The same in hexadecimal, as `tokenSha256` has it. */
export async function hashToken(token: string): Promise<string> {
  return (await digestToken(token)).toHex();
}

async function digestOf({ token, tokenSha256 }: ClusterToken): Promise<Uint8Array> {
  if (token !== undefined) return await digestToken(token);
  return Uint8Array.fromHex(tokenSha256 ?? "");
}

function wordsOf(digest: Uint8Array): Uint32Array {
  const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
  return Uint32Array.from({ length: wordsPerDigest }, (_, index) => view.getUint32(index * 4));
}

function refuseTwins(entries: readonly HashedToken[]): void {
  const owners = new Map<string, TokenMatch>();
  for (const { digest, match } of entries) {
    const key = digest.toHex();
    const owner = owners.get(key);
    if (owner) {
      throw new SameTokenError(
        `Token ${nameOf(owner)} is also token ${nameOf(match)}; each needs its own`,
      );
    }
    owners.set(key, match);
  }
}

function nameOf({ cluster, tokenName }: TokenMatch): string {
  return `"${tokenName}" of cluster "${cluster.id}"`;
}
