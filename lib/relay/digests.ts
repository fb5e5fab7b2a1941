/** Digests of tokens: tokens are known by them, found in constant time, and never kept in the clear. */
import type { TokenSecret } from "../domain/cluster.ts";

/** SHA-256 is compared as so many numbers of 32 bits. */
const wordsPerDigest = 8;

/** Something and the digest by which it is found. */
export interface DigestEntry<Value> {
  readonly digest: Uint8Array;
  readonly value: Value;
}

/** What tokens stand for, by their digests. */
export class DigestTable<Value> {
  readonly #values: readonly Value[];
  /** All digests, one behind the other: 10,000 of them are compared in less than 0.1 ms. */
  readonly #words: Uint32Array;

  constructor(entries: readonly DigestEntry<Value>[]) {
    this.#values = entries.map(({ value }) => value);
    this.#words = new Uint32Array(entries.length * wordsPerDigest);
    for (const [index, { digest }] of entries.entries()) {
      this.#words.set(keptWordsOf(digest), index * wordsPerDigest);
    }
  }

  /**
   * What the token with this digest stands for.
   *
   * Every entry is compared, all 32 bytes of it, so that the time taken says neither how much of a
   * guess was right nor which entry it came close to.
   */
  find(digest: Uint8Array): Value | undefined {
    const [a, b, c, d, e, f, g, h] = wordsOf(digest);
    const words = this.#words;
    let found: Value | undefined;
    for (let index = 0, at = 0; index < this.#values.length; index++, at += wordsPerDigest) {
      const difference = (words[at]! ^ a!) | (words[at + 1]! ^ b!) | (words[at + 2]! ^ c!) |
        (words[at + 3]! ^ d!) | (words[at + 4]! ^ e!) | (words[at + 5]! ^ f!) |
        (words[at + 6]! ^ g!) | (words[at + 7]! ^ h!);
      if (difference === 0) found = this.#values[index];
    }
    return found;
  }
}

/** The SHA-256 of a token's bytes. */
export async function digestToken(token: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
}

/** The same in hexadecimal, as `tokenSha256` has it. */
export async function hashToken(token: string): Promise<string> {
  return (await digestToken(token)).toHex();
}

/**
 * The digest of a token that is given by itself or by that.
 *
 * @throws {RangeError} when it is given in neither way
 */
export async function digestOf({ token, tokenSha256 }: TokenSecret): Promise<Uint8Array> {
  if (token !== undefined) return await digestToken(token);
  if (tokenSha256 === undefined) throw new RangeError("An entry has no token");
  return Uint8Array.fromHex(tokenSha256);
}

/** Tables are made anew with each change, of digests that are mostly the same. */
const knownWords = new WeakMap<Uint8Array, Uint32Array>();

function keptWordsOf(digest: Uint8Array): Uint32Array {
  const known = knownWords.get(digest);
  if (known) return known;
  const words = wordsOf(digest);
  knownWords.set(digest, words);
  return words;
}

function wordsOf(digest: Uint8Array): Uint32Array {
  const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
  return Uint32Array.from({ length: wordsPerDigest }, (_, index) => view.getUint32(index * 4));
}
