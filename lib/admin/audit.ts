/** Who changed what through the admin API, for the log and the audit log. */
import type { EntryKind } from "../domain/admin.ts";
import type { Log } from "../log.ts";
import type { Peer } from "../net/exchange.ts";
import type { Audit, AuditRecord } from "../relay/telemetry/audit.ts";
import { ApiError } from "./api_error.ts";
import type { ApiRequest } from "./api_request.ts";
import type { Changed } from "./entries.ts";

/** What is done. */
export type AdminAction =
  | "put"
  | "delete"
  | "renew"
  | "disconnect"
  | "end_stream"
  | "revoke"
  | "expire";

/** What it is done to. */
export interface AdminSubject {
  readonly kind: EntryKind | "agents" | "streams" | "sessions";
  readonly name: string;
}

/** A request that was refused before anything was asked of entries. */
export interface Denied {
  readonly requestId: string;
  /** The token's name; undefined for a token that is nobody's. */
  readonly by: string | undefined;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly code: string;
}

/** Writes records: one before a change is made, and one that says how it ended. */
export class AdminAudit {
  readonly #audit: Audit | undefined;
  readonly #log: Log;
  readonly #failed: () => void;

  /** @param failed a record could not be written */
  constructor(audit: Audit | undefined, log: Log, failed: () => void) {
    this.#audit = audit;
    this.#log = log;
    this.#failed = failed;
  }

  /** Records what is about to be done. @throws {ApiError} 503 if it must not be, as there is no record */
  async allow(request: ApiRequest, action: AdminAction, subject: AdminSubject): Promise<void> {
    if (!this.#audit) return;
    const about = { ...aboutRequest(request), ...aboutSubject(action, subject) };
    const isWritten = await this.#append("admin_start", { decision: "allowed", ...about });
    if (isWritten || this.#audit.failsOpen) return;
    const message = "the audit log can't be written; nothing has changed";
    throw new ApiError(503, "audit_unavailable", message, {}, { "Retry-After": "5" });
  }

  /** What was allowed is done. */
  done(request: ApiRequest, action: AdminAction, subject: AdminSubject, changed?: Changed): void {
    const result = resultOf(changed);
    const about = { ...aboutRequest(request), ...aboutSubject(action, subject), result };
    // Leases are renewed all the time.
    if (action !== "renew") this.#log.info("Changed through the admin API", about);
    void this.#append("admin_end", about);
  }

  /** What was allowed was refused by the state of things; to be thrown on. */
  refused(
    request: ApiRequest,
    action: AdminAction,
    subject: AdminSubject,
  ): (error: unknown) => never {
    return (error) => {
      const about = { ...aboutRequest(request), ...aboutSubject(action, subject) };
      const code = error instanceof ApiError ? error.code : "internal_error";
      const status = error instanceof ApiError ? error.status : 500;
      void this.#append("admin_end", { ...about, result: "refused", status, code });
      throw error;
    };
  }

  /** The relay did it by itself: a lease ended. */
  byItself(action: AdminAction, subject: AdminSubject, by: string): void {
    const about = { by, ...aboutSubject(action, subject) };
    this.#log.info("Deleted an entry of the admin API: its lease has ended", about);
    void this.#append("admin_end", { ...about, result: "deleted" });
  }

  /** Somebody was not let in, or asked for what is not in scope. */
  denied({ requestId, ...about }: Denied, { address }: Peer): void {
    if (about.by !== undefined) {
      this.#log.warn("Refused a request to the admin API", { ...about, peer: address });
    }
    void this.#append("admin_denied", {
      ...{ request_id: requestId, decision: "denied", address },
      ...about,
      path: about.path.slice(0, 1_024),
    });
  }

  async #append(event: string, fields: AuditRecord): Promise<boolean> {
    if (!this.#audit) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#audit.log.append({ time: new Date().toISOString(), event, ...fields }, resolve);
    const isWritten = await promise;
    if (!isWritten) this.#failed();
    return isWritten;
  }
}

function aboutRequest({ requestId, scope, exchange }: ApiRequest) {
  return { request_id: requestId, by: scope.token.name, address: exchange.peer.address };
}

function aboutSubject(action: AdminAction, { kind, name }: AdminSubject) {
  return { action, kind, name: name.slice(0, 253) };
}

function resultOf(changed: Changed | undefined): string {
  if (!changed) return "done";
  if (!changed.after) return "deleted";
  if (!changed.before) return "added";
  return changed.before.etag === changed.after.etag ? "unchanged" : "changed";
}
