/** Where the commands of `access` say what happens. */
import process from "node:process";
import type { CommandOutput } from "../../../commands/command.ts";
import { type AccessEvent, lineOf } from "../../../access/report.ts";
import { ServiceError } from "../../../access/service_error.ts";

/**
 * Prints what a command that runs on has to say: as JSON everything to standard output; for people
 * the addresses there, and what goes wrong to standard error.
 */
export function printer(
  isJson: boolean,
  warnings: readonly string[],
): (event: AccessEvent) => void {
  for (const warning of warnings) process.stderr.write(`access: ${warning}\n`);
  return (event) => {
    const line = lineOf(event, isJson);
    if (isJson || event.event === "listening") process.stdout.write(`${line}\n`);
    else process.stderr.write(`access: ${line}\n`);
  };
}

/** One sentence, and exit code 1. @throws what is no {@link ServiceError} */
export function refused(error: unknown): CommandOutput {
  if (!(error instanceof ServiceError)) throw error;
  return { text: "", warnings: [error.message], exitCode: 1 };
}
