/** Signed assertions about callers, for applications and agents. */
import {
  calculateJwkThumbprint,
  type CryptoKey,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JWK,
  SignJWT,
} from "jose";
import type { Clock } from "../../jwt/clock.ts";

/** How long an assertion counts, in seconds. */
export const assertionSeconds = 60;
/** How long an assertion is reused, in milliseconds: at least half of its lifetime is left then. */
export const assertionReuseMs = 30_000;
/** The longest assertion, in characters. */
export const maxAssertionLength = 2_048;
/** Assertions that are remembered; the oldest one goes. */
export const maxAssertions = 4_096;

const algorithm = "ES256";

/** What an assertion says. */
export interface AssertionClaims {
  readonly iss: string;
  readonly aud: string;
  readonly sub: string;
  readonly username: string;
  readonly provider?: string | undefined;
  readonly groups: readonly string[];
  readonly sid: string;
  /** The cluster's user and groups that an agent is to impersonate. */
  readonly impersonate?: { readonly user: string; readonly groups: readonly string[] } | undefined;
}

/** An assertion would be longer than targets take. */
export class AssertionTooLongError extends Error {
  override readonly name = "AssertionTooLongError";
}

interface Key {
  readonly kid: string;
  readonly key: CryptoKey;
  readonly publicJwk: JWK;
}

interface Remembered {
  readonly jwt: string;
  readonly untilMs: number;
}

/** Signs assertions, and remembers them for a while: a signature costs a thousand look-ups. */
export class Assertions {
  #keys: readonly Key[];
  readonly #clock: Clock;
  readonly #remembered = new Map<string, Remembered>();
  readonly #pending = new Map<string, Promise<string>>();

  private constructor(keys: readonly Key[], clock: Clock) {
    this.#keys = keys;
    this.#clock = clock;
  }

  /**
   * Signs with the first of some private keys.
   *
   * @param jwks Private EC keys on P-256; without any, a pair of its own.
   */
  static async create(jwks: readonly JWK[] | undefined, clock: Clock): Promise<Assertions> {
    const given = jwks && jwks.length > 0 ? jwks : [await makeKey()];
    return new Assertions(await Promise.all(given.map(toKey)), clock);
  }

  /** Signs with other keys, the first one of them, and publishes all. */
  async replace(jwks: readonly JWK[]): Promise<void> {
    this.#keys = await Promise.all(jwks.map(toKey));
    // What a removed key has signed is verified by nobody any more.
    this.#remembered.clear();
    this.#pending.clear();
  }

  /** The public keys as JSON (RFC 7517 section 5). */
  get jwks(): string {
    return JSON.stringify({ keys: this.#keys.map(({ publicJwk }) => publicJwk) });
  }

  /**
   * An assertion that says this; a promise only where none was signed a moment ago.
   *
   * @throws {AssertionTooLongError} or rejects with it
   */
  sign(claims: AssertionClaims): string | Promise<string> {
    const key = JSON.stringify(claims);
    const known = this.#remembered.get(key);
    if (known && this.#clock.monotonicMs() < known.untilMs) return known.jwt;
    const pending = this.#pending.get(key);
    if (pending) return pending;
    const signing = this.#sign(claims, key).finally(() => this.#pending.delete(key));
    this.#pending.set(key, signing);
    return signing;
  }

  async #sign(claims: AssertionClaims, key: string): Promise<string> {
    const untilMs = this.#clock.monotonicMs() + assertionReuseMs;
    const [{ kid, key: privateKey }] = this.#keys as [Key];
    const issuedAt = Math.floor(this.#clock.nowMs() / 1000);
    const jwt = await new SignJWT({ ...claims })
      .setProtectedHeader({ alg: algorithm, kid, typ: "JWT" })
      .setIssuedAt(issuedAt).setExpirationTime(issuedAt + assertionSeconds).sign(privateKey);
    if (jwt.length > maxAssertionLength) {
      throw new AssertionTooLongError(
        `${jwt.length} characters with ${claims.groups.length} groups; ${maxAssertionLength} at most`,
      );
    }
    this.#remember(key, { jwt, untilMs });
    return jwt;
  }

  #remember(key: string, assertion: Remembered): void {
    this.#remembered.delete(key);
    for (const [oldest] of this.#remembered) {
      if (this.#remembered.size < maxAssertions) break;
      this.#remembered.delete(oldest);
    }
    this.#remembered.set(key, assertion);
  }
}

async function makeKey(): Promise<JWK> {
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true });
  return await exportJWK(privateKey);
}

async function toKey(jwk: JWK): Promise<Key> {
  const { kty, crv, x, y } = jwk;
  const publicPart = { kty, crv, x, y } as JWK;
  const kid = await calculateJwkThumbprint(publicPart);
  return {
    kid,
    key: await importJWK(jwk, algorithm) as CryptoKey,
    publicJwk: { ...publicPart, kid, alg: algorithm, use: "sig" },
  };
}
