/** Who has signed in: one record for each session of the login host. */

/** A session. */
export interface SessionRecord {
  readonly id: string;
  readonly provider: string;
  readonly issuer: string;
  readonly subject: string;
  readonly username: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly refreshToken: string | undefined;
  /** The provider's own session. */
  readonly providerSession: string | undefined;
  /** When the provider issued the ID token, by its own clock; milliseconds since 1970. */
  readonly issuedMs: number;
  /** When the person signed in, and when the session ends at the latest; milliseconds since 1970. */
  readonly signedInMs: number;
  readonly expiresMs: number;
  /** Until when the claims are taken for true without asking the provider again. */
  readonly freshUntilMs: number;
}

/** What a back-channel logout or an administrator names. */
export interface EndedPeople {
  readonly issuer: string;
  readonly subject?: string | undefined;
  readonly providerSession?: string | undefined;
}

/** Keeps sessions. */
export interface Sessions {
  /** A session that is alive; a promise only where others must be asked. */
  find(id: string): SessionRecord | undefined | Promise<SessionRecord | undefined>;
  /** The session as far as it is known here, without asking. */
  known(id: string): SessionRecord | undefined;
  put(record: SessionRecord): Promise<void>;
  /** Puts other values in the place of a session's, if it is still there. */
  update(record: SessionRecord): Promise<void>;
  /**
   * Asks to be the one that renews a session.
   *
   * @returns `mine`, or what another relay has made of it meanwhile
   */
  beginRefresh(record: SessionRecord): Promise<"mine" | SessionRecord | undefined>;
  /** A request has come. */
  seen(id: string, nowMs: number): void;
  end(id: string): Promise<void>;
  /** Ends all sessions of somebody, or one of the provider's; says how many. */
  endOf(people: EndedPeople): Promise<number>;
  /** Uses something up. @returns whether it was still there */
  useOnce(id: string, untilMs: number): Promise<boolean>;
  /** Whether a token issued then counts no longer, as a logout has come since. */
  isEnded(people: EndedPeople & { readonly issuedMs: number }): Promise<boolean>;
}

/** Sessions that are kept; the one without a request for longest makes room. */
export const maxSessions = 100_000;
/** Things used up, and logouts, that are remembered. */
const maxRemembered = 100_000;
/** How long a logout is remembered against tokens that are on their way, in milliseconds. */
export const logoutRememberedMs = 15 * 60_000;

interface Kept {
  readonly record: SessionRecord;
  /** When the last request came. */
  seenMs: number;
}

/** Sessions in this process. */
export class MemorySessions implements Sessions {
  /** In the order of their last requests. */
  readonly #kept = new Map<string, Kept>();
  readonly #used = new Map<string, number>();
  readonly #ended = new Map<string, number>();
  readonly #nowMs: () => number;
  readonly #idleMs: number;
  readonly #changed: () => void;

  /** @param changed Called when sessions have ended other than by time. */
  constructor(nowMs: () => number, idleMs: number, changed: () => void) {
    this.#nowMs = nowMs;
    this.#idleMs = idleMs;
    this.#changed = changed;
  }

  get size(): number {
    return this.#kept.size;
  }

  find(id: string): SessionRecord | undefined {
    return this.known(id);
  }

  known(id: string): SessionRecord | undefined {
    const kept = this.#kept.get(id);
    if (!kept) return undefined;
    const now = this.#nowMs();
    if (now < kept.record.expiresMs && now < kept.seenMs + this.#idleMs) return kept.record;
    this.#kept.delete(id);
    return undefined;
  }

  put(record: SessionRecord): Promise<void> {
    this.#kept.delete(record.id);
    this.#kept.set(record.id, { record, seenMs: this.#nowMs() });
    if (this.#kept.size > maxSessions) {
      this.#kept.delete(this.#kept.keys().next().value!);
      this.#changed();
    }
    return Promise.resolve();
  }

  update(record: SessionRecord): Promise<void> {
    const kept = this.#kept.get(record.id);
    if (kept) this.#kept.set(record.id, { ...kept, record });
    return Promise.resolve();
  }

  beginRefresh(): Promise<"mine"> {
    return Promise.resolve("mine");
  }

  seen(id: string, nowMs: number): void {
    const kept = this.#kept.get(id);
    // A second's exactness costs nothing and saves most of the moving.
    if (!kept || nowMs - kept.seenMs < 1_000) return;
    kept.seenMs = nowMs;
    this.#kept.delete(id);
    this.#kept.set(id, kept);
  }

  end(id: string): Promise<void> {
    if (this.#kept.delete(id)) this.#changed();
    return Promise.resolve();
  }

  endOf(people: EndedPeople): Promise<number> {
    const keys = endedKeys(people);
    for (const key of keys) remember(this.#ended, key, this.#nowMs() + logoutRememberedMs);
    const ids = [...this.#kept.values()].filter(({ record }) =>
      endedKeys(record).some((key) => keys.includes(key))
    ).map(({ record }) => record.id);
    for (const id of ids) this.#kept.delete(id);
    if (ids.length > 0) this.#changed();
    return Promise.resolve(ids.length);
  }

  useOnce(id: string, untilMs: number): Promise<boolean> {
    const isNew = (this.#used.get(id) ?? -Infinity) < this.#nowMs();
    if (isNew) remember(this.#used, id, untilMs);
    return Promise.resolve(isNew);
  }

  isEnded(people: EndedPeople & { readonly issuedMs: number }): Promise<boolean> {
    const now = this.#nowMs();
    return Promise.resolve(
      endedKeys(people).some((key) => {
        const untilMs = this.#ended.get(key);
        if (untilMs === undefined || untilMs < now) return false;
        return people.issuedMs <= untilMs - logoutRememberedMs;
      }),
    );
  }
}

/** The provider's session is named where the logout names one, else the person. */
function endedKeys({ issuer, subject, providerSession }: EndedPeople): string[] {
  const keys: string[] = [];
  if (subject !== undefined) keys.push(JSON.stringify([issuer, "sub", subject]));
  if (providerSession !== undefined) keys.push(JSON.stringify([issuer, "sid", providerSession]));
  return keys;
}

function remember(map: Map<string, number>, key: string, untilMs: number): void {
  map.delete(key);
  if (map.size >= maxRemembered) map.delete(map.keys().next().value!);
  map.set(key, untilMs);
}
