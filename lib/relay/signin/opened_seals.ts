/** Sealed texts that were opened lately: to open one costs as much as all else that a request needs. */
import type { JWTPayload } from "jose";
import type { Clock } from "../../jwt/clock.ts";
import type { Purpose, SessionKeys } from "./seals.ts";
import { setNewest } from "../../set_newest.ts";

/** Texts that are remembered; the one that was opened first makes room. */
const maxOpened = 20_000;
/** How long opened seals are remembered, in milliseconds. */
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
}

/**
 * Opens them and remembers, by text and host, what each says. By their digests would look safer, but
 * a digest takes as long as all the rest of finding a session, and hides nothing: the keys that open
 * all of them lie beside it.
 */
export class OpenedSeals {
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
    // One text, so that none of them keeps the request alive that it is a part of.
    const key = `${purpose}\n${hostname}\n${sealed}`;
    const opened = this.#opened.get(key);
    if (opened && this.#context.clock.nowMs() < opened.untilMs) return opened.claims;
    return this.#openSealed(key, purpose, hostname, sealed);
  }

  /** Opens all of them again, as the keys are others. */
  clear(): void {
    this.#edition++;
    this.#opened.clear();
  }

  async #openSealed(
    key: string,
    purpose: OpenedPurpose,
    hostname: string,
    sealed: string,
  ): Promise<JWTPayload | undefined> {
    const { keys, clock } = this.#context;
    const edition = this.#edition;
    const claims = await keys.open(purpose, hostname, sealed);
    // The key that has opened it may be the one that was removed meanwhile.
    if (edition !== this.#edition) {
      return await this.#openSealed(key, purpose, hostname, sealed);
    }
    if (typeof claims?.["sid"] !== "string") return undefined;
    const untilMs = Math.min(clock.nowMs() + openedMs, claims.exp! * 1_000);
    setNewest(this.#opened, key, { claims, untilMs }, maxOpened);
    return claims;
  }
}
