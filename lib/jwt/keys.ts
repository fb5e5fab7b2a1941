/** The public keys of callers' issuer, fetched from its JWKS URL (RFC 7517 section 5) and kept. */
import {
  createLocalJWKSet,
  type CryptoKey,
  errors,
  type FlattenedJWSInput,
  type JSONWebKeySet,
  type JWSHeaderParameters,
} from "jose";
import { messageOf } from "../message_of.ts";
import type { Clock } from "./clock.ts";

/** Keys are fetched anew when they are older, in milliseconds: a key that was withdrawn ends then. */
export const keysFreshMs = 10 * 60_000;
/** While they can't be fetched, the last ones count for this long, in milliseconds. */
export const keysLastGoodMs = 24 * 3_600_000;
/** The time between two attempts, in milliseconds, so that made-up key ids do not burden the issuer. */
export const keysCooldownMs = 10_000;
/** How long one attempt may take, in milliseconds. */
export const keysTimeoutMs = 5_000;
/** Bytes of the issuer's answer. */
export const maxKeysBytes = 256 * 1024;

/** What the keys tell about themselves. */
export interface KeysEvents {
  fetched(): void;
  /** @param isUsable Whether there are earlier keys that still count. */
  failed(reason: string, isUsable: boolean): void;
}

/** There are no keys, or none that may still be used. */
export class KeysUnavailableError extends Error {
  override readonly name = "KeysUnavailableError";
}

/** How keys are fetched. */
export interface IssuerKeysOptions {
  readonly url: string;
  readonly clock: Clock;
  readonly events: KeysEvents;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Other keys count from now on than those before: what they have signed must be verified anew. */
  readonly replaced: () => void;
}

type FindKey = ReturnType<typeof createLocalJWKSet>;

/** Finds the key that a JWT names. */
export class IssuerKeys {
  readonly #options: IssuerKeysOptions;
  #find: FindKey | undefined;
  /** The keys that are there, as they came. */
  #text: string | undefined;
  /** When the keys that are there came, and when they were last asked for; monotonic. */
  #fetchedMs = -Infinity;
  #attemptedMs = -Infinity;
  #hasFailed = false;
  #attempt: Promise<void> | undefined;

  constructor(options: IssuerKeysOptions) {
    this.#options = options;
  }

  /** Fetches the keys now, so that the first caller need not wait; a failure is an event. */
  async prepare(): Promise<void> {
    await this.#refresh();
  }

  /**
   * The key for a JWT, as `jose` asks for it.
   *
   * @throws {errors.JWKSNoMatchingKey} when the issuer has no such key
   * @throws {KeysUnavailableError}
   */
  async find(header: JWSHeaderParameters, token: FlattenedJWSInput): Promise<CryptoKey> {
    if (this.#ageMs > keysFreshMs) {
      const refreshed = this.#refresh();
      // While the issuer is away, callers do not wait for it again and again.
      if (!this.#isUsable || !this.#hasFailed) await refreshed;
    }
    try {
      return await this.#usable(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      // The issuer may have new keys.
      await this.#refresh();
      return await this.#usable(header, token);
    }
  }

  get #ageMs(): number {
    return this.#options.clock.monotonicMs() - this.#fetchedMs;
  }

  get #isUsable(): boolean {
    return this.#find !== undefined && this.#ageMs <= keysLastGoodMs;
  }

  #usable(header: JWSHeaderParameters, token: FlattenedJWSInput): Promise<CryptoKey> {
    if (!this.#find || !this.#isUsable) throw new KeysUnavailableError("No keys of the issuer");
    return this.#find(header, token);
  }

  /** Fetches the keys, unless that is under way or was tried a moment ago. Never throws. */
  async #refresh(): Promise<void> {
    const now = this.#options.clock.monotonicMs();
    if (!this.#attempt && now - this.#attemptedMs < keysCooldownMs) return;
    this.#attemptedMs = this.#attempt ? this.#attemptedMs : now;
    this.#attempt ??= this.#fetch().finally(() => this.#attempt = undefined);
    await this.#attempt;
  }

  async #fetch(): Promise<void> {
    const { events, clock } = this.#options;
    try {
      const text = await this.#download();
      this.#find = createLocalJWKSet(parseKeys(text));
      this.#fetchedMs = clock.monotonicMs();
      this.#hasFailed = false;
      const isReplaced = this.#text !== undefined && this.#text !== text;
      this.#text = text;
      events.fetched();
      if (isReplaced) this.#options.replaced();
    } catch (error) {
      this.#hasFailed = true;
      events.failed(messageOf(error), this.#isUsable);
    }
  }

  async #download(): Promise<string> {
    const { fetch, url } = this.#options;
    const response = await fetch(url, {
      headers: { Accept: "application/jwk-set+json, application/json" },
      // The issuer is where the configuration says, and nowhere else.
      redirect: "manual",
      signal: AbortSignal.timeout(keysTimeoutMs),
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`Status ${response.status}, must be 200`);
    }
    return await readText(response);
  }
}

/** @throws {Error} for what is not JSON; `createLocalJWKSet` checks the form. */
function parseKeys(text: string): JSONWebKeySet {
  try {
    return JSON.parse(text) as JSONWebKeySet;
  } catch {
    throw new Error("The answer is not JSON");
  }
}

/** @throws {Error} for a body that is too long */
async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  for await (const bytes of response.body ?? []) {
    length += bytes.length;
    if (length > maxKeysBytes) throw new Error(`The answer is over ${maxKeysBytes} bytes`);
    text += decoder.decode(bytes, { stream: true });
  }
  return text + decoder.decode();
}
