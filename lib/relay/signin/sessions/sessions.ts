/** Who has signed in: one record for each session of the login host. */

/** A session. */
export interface SessionRecord {
  readonly id: string;
  readonly provider: string;
  readonly issuer: string;
  readonly subject: string;
  readonly username: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** Names of the claims that came in the ID token; the others came from the userinfo endpoint. */
  readonly tokenClaims?: readonly string[] | undefined;
  readonly refreshToken: string | undefined;
  /** The provider's own session. */
  readonly providerSession: string | undefined;
  /** When the provider issued the ID token, by its own clock; milliseconds since 1970. */
  readonly issuedMs: number;
  /** When the person signed in, and when the session ends at the latest; milliseconds since 1970. */
  readonly signedInMs: number;
  readonly expiresMs: number;
  /** Until when the claims are trusted without asking the provider again. */
  readonly freshUntilMs: number;
  /** Kept only where agents may ask for it. */
  readonly proof?: SessionProof | undefined;
  /** The program that the session is for; absent for a browser. */
  readonly client?: SessionClient | undefined;
}

/** The provider's ID token, for agents that verify for themselves who somebody is. A credential. */
export interface SessionProof {
  readonly jwt: string;
  /** Milliseconds since 1970. */
  readonly expiresMs: number;
}

/** A program that somebody signed in for. */
export interface SessionClient {
  /** The program and machine, as the program named them, for people to read. */
  readonly name: string;
  /** The hosts, and paths `/tunnel/ID`, that its tokens are for. */
  readonly hosts: readonly string[];
}

/** Whom a logout at the provider is about. */
export interface LoggedOut {
  readonly issuer: string;
  readonly subject?: string | undefined;
  /** The provider's session. Without one, all sessions of the person are meant. */
  readonly providerSession?: string | undefined;
  /** When the provider issued the logout token, by its own clock; milliseconds since 1970. */
  readonly issuedMs: number;
}

/** Whom an ID token is about, and when it was issued by the provider's clock. */
export interface Issued {
  readonly issuer: string;
  readonly subject: string;
  readonly providerSession: string | undefined;
  readonly issuedMs: number;
}

/** Which sessions are asked for. */
export interface SessionQuery {
  /** Only those of people with this name. */
  readonly user?: string | undefined;
  /** Only those of this person. */
  readonly person?: { readonly issuer: string; readonly subject: string } | undefined;
  /** How many at most. */
  readonly limit?: number | undefined;
}

/** A session and how it was used. */
export interface UsedSession {
  readonly record: SessionRecord;
  readonly lastUsedMs: number;
  /** Hostnames of the services that were opened with it. */
  readonly hosts: readonly string[];
  /** The relay to which its last request came. */
  readonly relay: string;
}

/** What was found, and whether that is all there is. */
export interface FoundSessions {
  readonly sessions: readonly UsedSession[];
  readonly isComplete: boolean;
}

/** Keeps sessions. */
export interface Sessions {
  /** A session that is alive; a promise only where others must be asked. */
  find(id: string): SessionRecord | undefined | Promise<SessionRecord | undefined>;
  /** The session as far as it is known here, without asking. */
  known(id: string): SessionRecord | undefined;
  /**
   * Keeps a new session. If the person has too many, the oldest ones end.
   *
   * @param replaces the session of the same person and browser that ends with it
   */
  put(record: SessionRecord, replaces?: string): Promise<void>;
  /** The session that has replaced another one a moment ago. */
  successorOf(id: string): Promise<SessionRecord | undefined>;
  /** Puts other values in the place of a session's, if it is still there. */
  update(record: SessionRecord): Promise<void>;
  /**
   * Asks to be the one that renews a session.
   *
   * @returns `mine`, or what another relay has made of it meanwhile
   */
  beginRefresh(record: SessionRecord): Promise<"mine" | SessionRecord | undefined>;
  /** A request has come. @param host the service's, undefined for the login host */
  seen(id: string, nowMs: number, host: string | undefined): void;
  /** Ends a session. @returns whether it was there */
  end(id: string): Promise<boolean>;
  /** Ends the sessions that a logout at the provider is about; says how many. */
  endOf(loggedOut: LoggedOut): Promise<number>;
  /** Sessions that are alive on any relay. */
  list(query?: SessionQuery): Promise<FoundSessions>;
  /** Uses something up. @returns whether it was still there */
  useOnce(id: string, untilMs: number): Promise<boolean>;
  /** Whether an ID token counts no longer, as a logout has come since it was issued. */
  isEnded(issued: Issued): Promise<boolean>;
}

/** Hostnames that are remembered of one session. */
export const maxHostsOfSession = 100;
/** Sessions of one person; beyond that, the one that was begun first ends. */
export const maxSessionsOfPerson = 50;
/** How long a logout is remembered against tokens that are on their way, in milliseconds. */
export const logoutRememberedMs = 15 * 60_000;
/** How long codes of a replaced session lead to its successor, in milliseconds: as long as codes count. */
export const successorMs = 60_000;
