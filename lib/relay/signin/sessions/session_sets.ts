/** Which sessions belong together, and which of them a logout at their provider ends. */
import type { Issued, LoggedOut, SessionRecord } from "./sessions.ts";

/** Names of sets of sessions: a person's, those of a provider's session, and those of a username. */
export function setKeysOf({ issuer, subject, providerSession, username }: SessionRecord): string[] {
  return [
    personKey({ issuer, subject }),
    userKey(username),
    ...providerSession === undefined ? [] : [providerSessionKey(issuer, providerSession)],
  ];
}

/** The set of one person's sessions. */
export function personKey(
  { issuer, subject }: { readonly issuer: string; readonly subject: string },
): string {
  return JSON.stringify([issuer, "sub", subject]);
}

/** The set of the sessions of people with one name. */
export function userKey(username: string): string {
  return JSON.stringify(["user", username]);
}

function providerSessionKey(issuer: string, session: string): string {
  return JSON.stringify([issuer, "sid", session]);
}

/** The sets among which a logout's sessions are: see {@link isMeant}. */
export function setKeysOfLogout({ issuer, subject, providerSession }: LoggedOut): string[] {
  return [
    ...subject === undefined ? [] : [personKey({ issuer, subject })],
    ...providerSession === undefined ? [] : [providerSessionKey(issuer, providerSession)],
  ];
}

/**
 * Whether a logout ends a session. With a provider's session in the token, that one alone is meant
 * (OpenID Connect Back-Channel Logout 1.0, 2.4), and sessions of the person whose ID tokens named none,
 * since they may belong to it.
 */
export function isMeant(loggedOut: LoggedOut, record: SessionRecord): boolean {
  const { issuer, subject, providerSession } = loggedOut;
  if (record.issuer !== issuer) return false;
  if (subject !== undefined && record.subject !== subject) return false;
  if (providerSession === undefined) return subject !== undefined;
  if (record.providerSession === undefined) return subject !== undefined;
  return record.providerSession === providerSession;
}

/** What is remembered of a logout, for ID tokens that are on their way. */
export function marksOfLogout({ issuer, subject, providerSession }: LoggedOut): string[] {
  if (providerSession === undefined) {
    return subject === undefined ? [] : [personKey({ issuer, subject })];
  }
  const session = providerSessionKey(issuer, providerSession);
  return subject === undefined ? [session] : [session, sessionlessKey(issuer, subject)];
}

/** The marks that an ID token falls under. */
export function marksOf({ issuer, subject, providerSession }: Issued): string[] {
  return [
    personKey({ issuer, subject }),
    providerSession === undefined
      ? sessionlessKey(issuer, subject)
      : providerSessionKey(issuer, providerSession),
  ];
}

/** A person's ID tokens that name no session of the provider's. */
function sessionlessKey(issuer: string, subject: string): string {
  return JSON.stringify([issuer, "sub without sid", subject]);
}
