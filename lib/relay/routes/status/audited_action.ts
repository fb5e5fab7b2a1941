/** What is ended from the status page is recorded like what the admin API changes. */
import type { Relay } from "../../relay.ts";

/** What is done, to what, and by whom. */
export interface AuditedAction {
  readonly action: "disconnect" | "end_stream" | "revoke";
  readonly kind: "agents" | "streams" | "sessions";
  readonly name: string;
  readonly by: string;
  readonly address: string;
  readonly request_id: string;
}

/**
 * Does it, with a record before and one behind it.
 *
 * @returns what `act` says, or `unrecorded` if nothing was done because no record can be written
 */
export async function audited(
  relay: Relay,
  about: AuditedAction,
  act: () => Promise<boolean>,
): Promise<boolean | "unrecorded"> {
  const isWritten = await append(relay, "admin_start", { decision: "allowed", ...about });
  if (!isWritten && !relay.audit!.failsOpen) return "unrecorded";
  const isDone = await act();
  void append(relay, "admin_end", { ...about, result: isDone ? "done" : "not_there" });
  return isDone;
}

async function append(relay: Relay, event: string, fields: object): Promise<boolean> {
  if (!relay.audit) return true;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  relay.audit.log.append({ time: new Date().toISOString(), event, ...fields }, resolve);
  const isWritten = await promise;
  if (!isWritten) relay.metrics.auditFailed();
  return isWritten;
}
