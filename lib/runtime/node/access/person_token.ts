/** The token of the person who signed in: renewed before it expires, by one process for all. */
import type { AccessService } from "../../../config/access_options.ts";
import { ServiceError } from "../../../access/service_error.ts";
import { findSignedIn, type SignedIn, without, withRenewed } from "../../../access/token_cache.ts";
import { commandOf } from "./person_sign_in.ts";
import { GrantError, requestTokens } from "./token_client.ts";
import type { TokenStore } from "./token_store.ts";

/** A token with less time than this is renewed, in milliseconds. */
const renewMs = 60_000;
/** How long a process waits for another one that renews the token, in milliseconds. */
const lockTimeoutMs = 20_000;
const pollMs = 100;

/** The token of one place. */
export class PersonToken {
  readonly #store: TokenStore;
  readonly #service: AccessService;
  readonly #place: string;
  #renewing: Promise<SignedIn | undefined> | undefined;

  /** @param service the host where the sign-in was, which renews its tokens */
  constructor(store: TokenStore, service: AccessService, place: string) {
    this.#store = store;
    this.#service = service;
    this.#place = place;
  }

  /**
   * The sign-in for the place, with a token that lasts a while.
   *
   * @returns undefined if there is none, or it has ended
   * @throws {ServiceError} when the relay can't be reached, and the token has expired
   */
  async find(signal: AbortSignal): Promise<SignedIn | undefined> {
    const found = findSignedIn(this.#store.read(), this.#place);
    if (!found || found.expiresMs > Date.now() + renewMs) return found;
    this.#renewing ??= this.#renew(found, signal).finally(() => this.#renewing = undefined);
    return await this.#renewing;
  }

  /** The token itself. @throws {ServiceError} also when one has to sign in again */
  async read(signal: AbortSignal): Promise<string> {
    const found = await this.find(signal);
    if (found) return found.accessToken;
    const { name } = this.#service;
    throw new ServiceError(
      `${name}: the sign-in has ended; run access login ${commandOf(this.#service, [this.#place])}`,
      { status: 401 },
    );
  }

  async #renew(old: SignedIn, signal: AbortSignal): Promise<SignedIn | undefined> {
    // Its refresh token goes nowhere but to where it came from.
    if (old.origin !== this.#service.origin) {
      return old.expiresMs > Date.now() ? old : undefined;
    }
    const unlock = await this.#lock();
    try {
      const now = findSignedIn(this.#store.read(), this.#place);
      if (!now || now.expiresMs > Date.now() + renewMs) return now;
      return await this.#ask(now, signal);
    } finally {
      unlock();
    }
  }

  async #ask(old: SignedIn, signal: AbortSignal): Promise<SignedIn | undefined> {
    const form = { grant_type: "refresh_token", refresh_token: old.refreshToken };
    try {
      const renewed = await requestTokens(this.#service, form, old.places, signal);
      await this.#store.change((cache) => withRenewed(cache, old, renewed));
      return renewed;
    } catch (error) {
      if (error instanceof GrantError) {
        await this.#store.change((cache) => without(cache, old));
        return undefined;
      }
      if (error instanceof ServiceError && old.expiresMs > Date.now()) return old;
      throw error;
    }
  }

  async #lock(): Promise<() => void> {
    const { origin, name } = this.#service;
    const deadlineMs = performance.now() + lockTimeoutMs;
    for (;;) {
      const unlock = await this.#store.tryLock("refresh", origin);
      if (unlock) return unlock;
      if (performance.now() > deadlineMs) {
        throw new ServiceError(`${name}: another process has been renewing the token for too long`);
      }
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  }
}
