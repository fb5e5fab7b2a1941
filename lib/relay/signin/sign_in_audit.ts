/** What the audit log says of signing in and out: these decisions are no requests of a service. */
import type { SessionRecord } from "./sessions/sessions.ts";

/** What is decided about a person or a session. */
export type SignInEvent = "sign_in" | "handover" | "sign_out" | "session_ended";

/** The fields of one record; what is undefined is left out. */
export type SignInRecord = Readonly<Record<string, string | number | boolean | undefined>>;

/** Takes records of decisions. */
export type SignInAudit = (event: SignInEvent, record: SignInRecord) => void;

/** What a record says of whose session it is. */
export function auditedSession({ id, username, provider, client }: SessionRecord): SignInRecord {
  return {
    caller: username,
    caller_kind: client ? "access" : "session",
    provider,
    session: id,
    program: client?.name,
  };
}
