/** People's sessions as their operators see them, and how operators end them. */
import type { Log } from "../../log.ts";
import type { SessionQuery, Sessions, UsedSession } from "./sessions/sessions.ts";
import type { SignInAudit } from "./sign_in_audit.ts";

/** A session in which somebody has signed in: no token, no cookie, no group. */
export interface PersonSession {
  /** Names the session, as in logs and in the audit log. */
  readonly id: string;
  readonly provider: string;
  readonly issuer: string;
  /** The provider's `sub`. */
  readonly subject: string;
  /** The name that logs have. */
  readonly user: string;
  /** The email address as the provider sent it, verified or not; undefined if it sent none. */
  readonly email: string | undefined;
  /** The program that the session is for, as the program has said; undefined for a browser. */
  readonly client?: string | undefined;
  /** Hostnames of the services that were opened with it; for a program, those that it may use. */
  readonly hosts: readonly string[];
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  readonly lastUsedMs: number;
  readonly expiresMs: number;
  /** The instance id of the relay to which its last request came. */
  readonly relay: string;
}

/** What {@link PeopleSessions.list} has found. */
export interface PeopleSessionsPage {
  readonly sessions: readonly PersonSession[];
  /** False if there are more than were asked for. */
  readonly isComplete: boolean;
}

/** What the sessions are kept in, and what is said of them where. */
export interface PeopleSessionsContext {
  readonly sessions: Sessions;
  readonly log: Log;
  readonly audit?: SignInAudit | undefined;
}

/** Sessions in a list where nobody says how many. */
const defaultLimit = 1_000;

/**
 * Lists and ends sessions. Relays that share their sessions see all of them, and end what a session
 * has open within two seconds, wherever it is.
 */
export class PeopleSessions {
  readonly #sessions: Sessions;
  readonly #log: Log;
  readonly #audit: SignInAudit | undefined;

  constructor({ sessions, log, audit }: PeopleSessionsContext) {
    this.#sessions = sessions;
    this.#log = log;
    this.#audit = audit;
  }

  /** Sessions that are alive. */
  async list(query: SessionQuery = {}): Promise<PeopleSessionsPage> {
    const { sessions, isComplete } = await this.#sessions.list({ limit: defaultLimit, ...query });
    return { sessions: sessions.map(toPersonSession), isComplete };
  }

  /**
   * Ends one session.
   *
   * @param by who ends it, for the log
   * @returns whether there was one of this id
   */
  async revoke(id: string, by: string): Promise<boolean> {
    const isThere = await this.#sessions.end(id);
    if (!isThere) return false;
    this.#log.info("Revoked a session", { session: id, by });
    this.#audit?.("session_ended", { session: id, reason: "revoked", by });
    return true;
  }

  /**
   * Ends all sessions of the people with one name; says how many.
   *
   * @param by who ends them, for the log
   */
  async revokeUser(user: string, by: string): Promise<number> {
    const { sessions } = await this.#sessions.list({ user });
    const ended = await Promise.all(sessions.map(({ record }) => this.revoke(record.id, by)));
    return ended.filter((isEnded) => isEnded).length;
  }
}

function toPersonSession({ record, lastUsedMs, hosts, relay }: UsedSession): PersonSession {
  const { id, provider, issuer, subject, username, claims, signedInMs, expiresMs } = record;
  const email = claims["email"];
  return {
    id,
    provider,
    issuer,
    subject,
    user: username,
    email: typeof email === "string" ? email : undefined,
    ...record.client && { client: record.client.name },
    hosts: record.client?.hosts ?? hosts,
    sinceMs: signedInMs,
    lastUsedMs,
    expiresMs,
    relay,
  };
}
