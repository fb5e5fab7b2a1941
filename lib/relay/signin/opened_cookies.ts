/** Sealed texts that were opened lately: to open one costs as much as all else that a request needs. */
import type { JWTPayload } from "jose";
import type { Clock } from "../../jwt/clock.ts";
import type { Purpose, SessionKeys } from "./session_keys.ts";

/** Texts that are remembered; the one that was opened first makes room. */
const maxOpened = 20_000;
/** For how long, in milliseconds. */
const openedMs = 10 * 60_000;

interface Opened {
  readonly claims: JWTPayload;
  readonly untilMs: number;
}

/** What is opened with every request: cookies, and the tokens of `access`. */
export type OpenedPurpose = Extract<Purpose, "session" | "login" | "access">;

/** What they are opened with. */
export interface OpenedContext {
  readonly keys: SessionKeys;
  readonly clock: Clock;
  readonly digest: (text: string) => Uint8Array | Promise<Uint8Array>;
}

/** Opens them and remembers, by digest and host, what each says. */
export class OpenedCookies {
  readonly #context: OpenedContext;
  readonly #opened = new Map<string, Opened>();
  /** Counts changes of the keys. */
  #edition = 0;

  constructor(context: OpenedContext) {
    this.#context = context;
  }

  /** What a text says; undefined for any text that is not the relay's. */
  open(
    purpose: OpenedPurpose,
    hostname: string,
    sealed: string,
  ): JWTPayload | undefined | Promise<JWTPayload | undefined> {
    const digest = this.#context.digest(`${purpose}\n${hostname}\n${sealed}`);
    if (digest instanceof Promise) {
      return digest.then((digest) => this.#openBy(digest.toHex(), purpose, hostname, sealed));
    }
    return this.#openBy(digest.toHex(), purpose, hostname, sealed);
  }

  /** Opens all of them again, as the keys are others. */
  clear(): void {
    this.#edition++;
    this.#opened.clear();
  }

  #openBy(
    digest: string,
    purpose: OpenedPurpose,
    hostname: string,
    sealed: string,
  ): JWTPayload | undefined | Promise<JWTPayload | undefined> {
    const opened = this.#opened.get(digest);
    if (opened && this.#context.clock.nowMs() < opened.untilMs) return opened.claims;
    return this.#openSealed(digest, purpose, hostname, sealed);
  }

  async #openSealed(
    digest: string,
    purpose: OpenedPurpose,
    hostname: string,
    sealed: string,
  ): Promise<JWTPayload | undefined> {
    const { keys, clock } = this.#context;
    const edition = this.#edition;
    const claims = await keys.open(purpose, hostname, sealed);
    // The key that has opened it may be the one that was removed meanwhile.
    if (edition !== this.#edition) {
      return await this.#openSealed(digest, purpose, hostname, sealed);
    }
    if (typeof claims?.["sid"] !== "string") return undefined;
    this.#opened.delete(digest);
    if (this.#opened.size >= maxOpened) this.#opened.delete(this.#opened.keys().next().value!);
    const untilMs = Math.min(clock.nowMs() + openedMs, claims.exp! * 1_000);
    this.#opened.set(digest, { claims, untilMs });
    return claims;
  }
}
