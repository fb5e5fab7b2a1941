/** Callers' bearer tokens: compared in constant time, never kept in the clear. */
import type { Caller } from "./caller.ts";
import { Patterns } from "./patterns.ts";

/** A token and what it opens, as the configuration has it. */
export interface CallerToken {
  readonly name: string;
  /** The token itself, or `tokenSha256`: one of the two. */
  readonly token?: string | undefined;
  /** SHA-256 of the token's bytes, 64 hexadecimal digits. */
  readonly tokenSha256?: string | undefined;
  /** Ids of clusters, or their beginnings with `*` behind. */
  readonly clusters: readonly string[];
  /** Milliseconds since 1970 from which the token is not accepted any more. */
  readonly expiresMs?: number | undefined;
}

/** A caller and until when its token is good. */
export interface TokenOwner {
  readonly caller: Caller;
  /** Milliseconds since 1970; infinite for a token that does not expire. */
  readonly expiresMs: number;
}

interface Entry {
  readonly digest: Uint8Array;
  readonly owner: TokenOwner;
}

/** Tells whose a token is. */
export class CallerTokens {
  readonly #entries: readonly Entry[];

  private constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  /**
   * Hashes what is not hashed already.
   *
   * @throws {RangeError} for an entry with neither a token nor its digest
   */
  static async from(tokens: readonly CallerToken[]): Promise<CallerTokens> {
    return new CallerTokens(await Promise.all(tokens.map(toEntry)));
  }

  /**
   * Whose token this is, expired or not, or nothing.
   *
   * Every entry is compared, all 32 bytes of it, so that the time taken says neither how much of a
   * guess was right nor which entry it came close to.
   */
  async find(token: string): Promise<TokenOwner | undefined> {
    const digest = await sha256(token);
    let found: TokenOwner | undefined;
    for (const entry of this.#entries) {
      if (isEqual(entry.digest, digest)) found = entry.owner;
    }
    return found;
  }
}

async function toEntry(entry: CallerToken): Promise<Entry> {
  const { name, token, tokenSha256, clusters, expiresMs } = entry;
  if (token === undefined && tokenSha256 === undefined) {
    throw new RangeError("An entry has no token");
  }
  const digest = token === undefined ? Uint8Array.fromHex(tokenSha256!) : await sha256(token);
  const caller: Caller = { kind: "token", name, clusters: new Patterns(clusters) };
  return { digest, owner: { caller, expiresMs: expiresMs ?? Infinity } };
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let index = 0; index < a.length; index++) difference |= a[index]! ^ b[index]!;
  return difference === 0;
}
