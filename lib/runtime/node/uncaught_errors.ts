/** What becomes of exceptions that nobody has caught. */
import process from "node:process";
import { errorFields, reportFault, reportFaultsTo } from "../../faults.ts";
import type { Log } from "../../log.ts";

/**
 * Logs exceptions that are bugs, and keeps those that nobody has caught from ending the process: one
 * peer, one timer or one promise of them must not end everybody's requests. They are counted, for an
 * alert.
 */
export function logUncaughtErrors(log: Log): void {
  reportFaultsTo((scope, error) => {
    log.error("Internal error", { scope, ...errorFields(error) });
  });
  process.on("uncaughtException", (error) => reportFault("process", error));
  process.on("unhandledRejection", (reason) => reportFault("process", reason));
}
