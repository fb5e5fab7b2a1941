/** The relay's audit log, as its options want it. */
import process from "node:process";
import { ConfigError } from "../../../config/config_error.ts";
import type { Log } from "../../../log.ts";
import { AuditFile } from "../audit_file.ts";
import type { RelaySetup } from "./setup.ts";

/**
 * Opens the audit log, if there is to be one; SIGHUP opens it anew.
 *
 * @throws {ConfigError} when it can't be opened.
 */
export function openAudit(
  { auditLog: path, auditFail, worker }: RelaySetup,
  log: Log,
): AuditFile | undefined {
  if (path === undefined) return undefined;
  const requests = auditFail === "closed" ? "refused" : "not recorded";
  try {
    const audit = new AuditFile(
      path,
      {
        failed: ({ message }) =>
          log.error("The audit log can't be written", { error: message, requests }),
        recovered: () => log.warn("The audit log can be written again"),
      },
      {},
      worker?.writeOutput,
    );
    process.on("SIGHUP", () => audit.reopen());
    return audit;
  } catch (error) {
    const { message } = error as Error;
    throw new ConfigError(
      `Option --audit-log: can't open ${JSON.stringify(path)} for writing: ${message}; ` +
        "choose a file that can be written, or - for standard output",
    );
  }
}
