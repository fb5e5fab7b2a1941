/**
 * Seals what browsers keep for the relay: encrypted JWTs (RFC 7519, `dir` with A256GCM), each for one
 * purpose and one host. Every purpose has a key of its own, so that none of them passes for another.
 */
import { EncryptJWT, errors, jwtDecrypt, type JWTPayload } from "jose";
import type { Clock } from "../../jwt/clock.ts";

/** What is sealed. */
export type Purpose =
  /** From a service's host to the login host: a sign-in is asked for. */
  | "start"
  /** From the login host to the provider and back. */
  | "state"
  /** From the login host to a service's: who has signed in. */
  | "code"
  /** The login host's cookie. */
  | "login"
  /** The cookie of a service's host. */
  | "session"
  /** A session's record in a shared store. */
  | "record"
  /** What a program asks for, between the page that asks for consent and its form. */
  | "consent"
  /** A program's sign-in from the login host to the provider and back. */
  | "program"
  /** From the login host to a program: somebody has signed in for it. */
  | "grant"
  /** A program's token for requests, and the one that gets it the next. */
  | "access"
  | "refresh"
  /** A program's sign-in whose person is at another machine. */
  | "device";

/** Bytes of a key. */
export const sessionKeyBytes = 32;

interface Key {
  readonly id: string;
  readonly byPurpose: ReadonlyMap<string, Uint8Array>;
}

const purposes: readonly Purpose[] = [
  ...["start", "state", "code", "login", "session", "record"] as const,
  ...["consent", "program", "grant", "access", "refresh", "device"] as const,
];

/** A ring of keys: the first one seals, all of them open. */
export class SessionKeys {
  #keys: readonly Key[];
  readonly #clock: Clock;

  private constructor(keys: readonly Key[], clock: Clock) {
    this.#keys = keys;
    this.#clock = clock;
  }

  /** @param keys 32 bytes each, at least one */
  static async from(keys: readonly Uint8Array[], clock: Clock): Promise<SessionKeys> {
    return new SessionKeys(await Promise.all(keys.map(toKey)), clock);
  }

  /** Takes other keys: what only a removed one opens counts no longer. */
  async replace(keys: readonly Uint8Array[]): Promise<void> {
    this.#keys = await Promise.all(keys.map(toKey));
  }

  /** @param audience the host that the text is for */
  async seal(
    purpose: Purpose,
    audience: string,
    claims: JWTPayload,
    lifetimeMs: number,
  ): Promise<string> {
    const [key] = this.#keys;
    const nowSeconds = Math.floor(this.#clock.nowMs() / 1_000);
    return await new EncryptJWT(claims)
      .setProtectedHeader({ alg: "dir", enc: "A256GCM", kid: key!.id, typ: typeOf(purpose) })
      .setAudience(audience)
      .setIssuedAt(nowSeconds)
      .setExpirationTime(nowSeconds + Math.ceil(lifetimeMs / 1_000))
      .encrypt(key!.byPurpose.get(purpose)!);
  }

  /** The claims of a sealed text; undefined for any other text, purpose, host or time. */
  async open(purpose: Purpose, audience: string, text: string): Promise<JWTPayload | undefined> {
    if (!text.split(".").every(isCanonical)) return undefined;
    try {
      const { payload } = await jwtDecrypt(text, ({ kid }) => this.#find(purpose, kid), {
        audience,
        typ: typeOf(purpose),
        keyManagementAlgorithms: ["dir"],
        contentEncryptionAlgorithms: ["A256GCM"],
        currentDate: new Date(this.#clock.nowMs()),
        requiredClaims: ["exp", "iat"],
      });
      return payload;
    } catch (error) {
      if (error instanceof errors.JOSEError || error instanceof TypeError) return undefined;
      throw error;
    }
  }

  #find(purpose: Purpose, id: string | undefined): Uint8Array {
    const key = this.#keys.find((key) => key.id === id);
    if (!key) throw new errors.JWEDecryptionFailed("No such key");
    return key.byPurpose.get(purpose)!;
  }
}

/**
 * Whether a part is written as the relay writes it: the last letter of base64url may have bits that
 * count for nothing, so that several texts would stand for the same bytes.
 */
function isCanonical(part: string): boolean {
  if (!/^[\w-]*$/.test(part)) return false;
  try {
    const bytes = Uint8Array.fromBase64(part, { alphabet: "base64url" });
    return bytes.toBase64({ alphabet: "base64url", omitPadding: true }) === part;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

function typeOf(purpose: Purpose): string {
  return `culvert-${purpose}`;
}

async function toKey(bytes: Uint8Array): Promise<Key> {
  const secret = Uint8Array.from(bytes);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", secret));
  const base = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const derived = purposes.map(async (purpose): Promise<[string, Uint8Array]> => {
    const info = new TextEncoder().encode(`culvert ${purpose}`);
    const salt = new Uint8Array(sessionKeyBytes);
    const algorithm = { name: "HKDF", hash: "SHA-256", salt, info };
    return [purpose, new Uint8Array(await crypto.subtle.deriveBits(algorithm, base, 256))];
  });
  return { id: digest.slice(0, 8).toHex(), byPurpose: new Map(await Promise.all(derived)) };
}
