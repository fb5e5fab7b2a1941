/** Cookies that were opened lately: to open one costs as much as all else that a request needs. */
import type { Clock } from "../../jwt/clock.ts";
import type { SessionKeys } from "./session_keys.ts";

/** Cookies that are remembered; the one that was opened first makes room. */
const maxOpened = 20_000;
/** For how long, in milliseconds. */
const openedMs = 10 * 60_000;

interface Opened {
  readonly session: string;
  readonly untilMs: number;
}

/** What cookies are opened with. */
export interface OpenedContext {
  readonly keys: SessionKeys;
  readonly clock: Clock;
  readonly digest: (text: string) => Uint8Array | Promise<Uint8Array>;
}

/** Opens cookies and remembers, by digest and host, which session each names. */
export class OpenedCookies {
  readonly #context: OpenedContext;
  readonly #opened = new Map<string, Opened>();
  /** Counts changes of the keys. */
  #edition = 0;

  constructor(context: OpenedContext) {
    this.#context = context;
  }

  /** The id of the session that a cookie names; undefined for any cookie that is not the relay's. */
  open(
    purpose: "session" | "login",
    hostname: string,
    cookie: string,
  ): string | undefined | Promise<string | undefined> {
    const digest = this.#context.digest(`${purpose}\n${hostname}\n${cookie}`);
    if (digest instanceof Promise) {
      return digest.then((digest) => this.#openBy(digest.toHex(), purpose, hostname, cookie));
    }
    return this.#openBy(digest.toHex(), purpose, hostname, cookie);
  }

  /** Opens all of them again, as the keys are others. */
  clear(): void {
    this.#edition++;
    this.#opened.clear();
  }

  #openBy(
    digest: string,
    purpose: "session" | "login",
    hostname: string,
    cookie: string,
  ): string | undefined | Promise<string | undefined> {
    const opened = this.#opened.get(digest);
    if (opened && this.#context.clock.nowMs() < opened.untilMs) return opened.session;
    return this.#openSealed(digest, purpose, hostname, cookie);
  }

  async #openSealed(
    digest: string,
    purpose: "session" | "login",
    hostname: string,
    cookie: string,
  ): Promise<string | undefined> {
    const { keys, clock } = this.#context;
    const edition = this.#edition;
    const claims = await keys.open(purpose, hostname, cookie);
    // The key that has opened it may be the one that was removed meanwhile.
    if (edition !== this.#edition) {
      return await this.#openSealed(digest, purpose, hostname, cookie);
    }
    const session = claims?.["sid"];
    if (typeof session !== "string") return undefined;
    this.#opened.delete(digest);
    if (this.#opened.size >= maxOpened) this.#opened.delete(this.#opened.keys().next().value!);
    const untilMs = Math.min(clock.nowMs() + openedMs, claims!.exp! * 1_000);
    this.#opened.set(digest, { session, untilMs });
    return session;
  }
}
