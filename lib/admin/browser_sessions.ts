/** Browsers in which somebody has given a token of the admin API. */
import { setNewest } from "../set_newest.ts";

/** How long a browser's session lasts, in milliseconds. */
export const browserSessionMs = 8 * 3_600_000;
/** Sessions at a time; the oldest makes room. */
const maxSessions = 1_000;
/** Bytes of the random text that a browser keeps. */
const idBytes = 32;

/** A browser, and whose it is. */
interface BrowserSession {
  /** The digest of the token that began the session. */
  readonly digest: Uint8Array;
  readonly expiresMs: number;
}

/** All of them, in the memory of this relay. */
export class BrowserSessions {
  readonly #nowMs: () => number;
  readonly #sessions = new Map<string, BrowserSession>();

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs;
  }

  /** Begins a session. @returns what the browser keeps */
  begin(digest: Uint8Array): string {
    const id = crypto.getRandomValues(new Uint8Array(idBytes))
      .toBase64({ alphabet: "base64url", omitPadding: true });
    const session = { digest, expiresMs: this.#nowMs() + browserSessionMs };
    setNewest(this.#sessions, id, session, maxSessions);
    return id;
  }

  /** The digest of the token that a browser's session is for; undefined if it is over. */
  find(id: string): Uint8Array | undefined {
    const session = this.#sessions.get(id);
    if (!session) return undefined;
    if (this.#nowMs() < session.expiresMs) return session.digest;
    this.#sessions.delete(id);
    return undefined;
  }

  end(id: string): void {
    this.#sessions.delete(id);
  }
}
