/** Callers' bearer tokens: whose each is. */
import {
  type DigestEntry,
  digestOf,
  DigestTable,
  digestToken,
  type TokenSecret,
} from "../digests.ts";
import type { Caller } from "./caller.ts";
import { Patterns } from "./patterns.ts";

/** A token and what it opens, as the configuration has it. */
export interface CallerToken extends TokenSecret {
  readonly name: string;
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

/** Tells whose a token is. */
export class CallerTokens {
  readonly #owners: DigestTable<TokenOwner>;

  private constructor(entries: readonly DigestEntry<TokenOwner>[]) {
    this.#owners = new DigestTable(entries);
  }

  /**
   * Hashes what is not hashed already.
   *
   * @throws {RangeError} for an entry with neither a token nor its digest
   */
  static async from(tokens: readonly CallerToken[]): Promise<CallerTokens> {
    return new CallerTokens(await Promise.all(tokens.map(toEntry)));
  }

  /** Whose token this is, expired or not, or nothing; found in constant time. */
  async find(token: string): Promise<TokenOwner | undefined> {
    return this.#owners.find(await digestToken(token));
  }
}

async function toEntry(entry: CallerToken): Promise<DigestEntry<TokenOwner>> {
  const { name, clusters, expiresMs } = entry;
  const caller: Caller = { kind: "token", name, clusters: new Patterns(clusters) };
  return { digest: await digestOf(entry), value: { caller, expiresMs: expiresMs ?? Infinity } };
}
