/** Agents' tokens: compared in constant time, never kept in the clear. */
import type { Cluster } from "./registry.ts";

/** A cluster and the token of its agents. */
export interface ClusterToken extends Cluster {
  readonly token: string;
}

interface HashedToken {
  readonly cluster: Cluster;
  readonly digest: Uint8Array;
}

/** Tells which cluster a token belongs to. */
export class TokenTable {
  readonly #entries: readonly HashedToken[];

  private constructor(entries: readonly HashedToken[]) {
    this.#entries = entries;
  }

  /** Hashes the tokens of all clusters. */
  static async from(clusters: readonly ClusterToken[]): Promise<TokenTable> {
    const entries = clusters.map(async ({ token, ...cluster }) => ({
      cluster,
      digest: await sha256(token),
    }));
    return new TokenTable(await Promise.all(entries));
  }

  /**
   * The cluster that a token belongs to, or nothing.
   *
   * Every entry is compared, all 32 bytes of it, so that the time taken says neither how much of a
   * guess was right nor which entry it came close to.
   */
  async find(token: string): Promise<Cluster | undefined> {
    const digest = await sha256(token);
    let found: Cluster | undefined;
    for (const entry of this.#entries) {
      if (equalInConstantTime(entry.digest, digest)) found = entry.cluster;
    }
    return found;
  }
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

function equalInConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  let difference = 0;
  for (let index = 0; index < a.length; index++) difference |= a[index]! ^ b[index]!;
  return difference === 0;
}
