/** Callers' bearer tokens: whose each is. */
import type { CallerToken } from "../../domain/callers.ts";
import { type DigestEntry, digestOf, DigestTable } from "../digests.ts";
import type { Caller, Grant } from "./caller.ts";
import { NamePatterns } from "../../domain/name_patterns.ts";

/** A caller and until when its token is good. */
export interface TokenOwner {
  readonly caller: Caller;
  /** Milliseconds since 1970; infinite for a token that does not expire. */
  readonly expiresMs: number;
}

/** The list that counts now, which may be a later one. */
export type TokensInUse = () => CallerTokens | undefined;

/** Tells whose a token is. */
export class CallerTokens {
  readonly #owners: DigestTable<TokenOwner>;
  readonly #byDigest: ReadonlyMap<string, TokenOwner>;

  private constructor(entries: readonly DigestEntry<TokenOwner>[]) {
    this.#owners = new DigestTable(entries);
    this.#byDigest = new Map(entries.map(({ digest, value }) => [digest.toHex(), value]));
  }

  /**
   * Hashes what is not hashed already.
   *
   * @param inUse Where the callers of this list look for themselves later on.
   * @throws {RangeError} for an entry with neither a token nor its digest
   */
  static async from(tokens: readonly CallerToken[], inUse: TokensInUse): Promise<CallerTokens> {
    return new CallerTokens(await Promise.all(tokens.map((token) => toEntry(token, inUse))));
  }

  /** Whose the token with this digest is, expired or not, or nothing; found in constant time. */
  find(digest: Uint8Array): TokenOwner | undefined {
    return this.#owners.find(digest);
  }

  /** The same for a token that was found before, in another list perhaps, by its digest in hexadecimal. */
  get(digest: string): TokenOwner | undefined {
    return this.#byDigest.get(digest);
  }
}

async function toEntry(entry: CallerToken, inUse: TokensInUse): Promise<DigestEntry<TokenOwner>> {
  const { name, clusters } = entry;
  const digest = await digestOf(entry);
  const grant = new TokenGrant(digest.toHex(), inUse);
  const caller: Caller = { kind: "token", name, clusters: new NamePatterns(clusters), grant };
  return { digest, value: { caller, expiresMs: entry.expiresMs ?? Infinity } };
}

class TokenGrant implements Grant {
  readonly #digest: string;
  readonly #inUse: TokensInUse;

  constructor(digest: string, inUse: TokensInUse) {
    this.#digest = digest;
    this.#inUse = inUse;
  }

  get expiresMs(): number {
    return this.#owner?.expiresMs ?? 0;
  }

  isValid(nowMs: number): boolean {
    return nowMs < this.expiresMs;
  }

  mayReach(cluster: string, nowMs: number): boolean {
    return this.isValid(nowMs) && this.#owner!.caller.clusters.matches(cluster);
  }

  get #owner(): TokenOwner | undefined {
    return this.#inUse()?.get(this.#digest);
  }
}
