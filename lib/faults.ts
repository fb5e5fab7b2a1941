/**
 * Exceptions that are bugs. One that comes from a connection ends that connection, and one of a
 * stream, a request or a timer no more than that; here it is told what happened.
 */
import { processCounts } from "./process_counts.ts";

/** What an exception ended; of the process' own nothing, as nobody knows what it belongs to. */
export type FaultScope = keyof typeof processCounts.faults;

type FaultReport = (scope: FaultScope, error: unknown) => void;

/** Unless a program says where they go, nobody may overlook them. */
let report: FaultReport = (_scope, error) => {
  queueMicrotask(() => {
    throw error;
  });
};

/** Says where faults are reported from now on, for the whole process. */
export function reportFaultsTo(next: FaultReport): void {
  report = next;
}

/** Counts an exception that is a bug, and reports it. */
export function reportFault(scope: FaultScope, error: unknown): void {
  countFault(scope);
  report(scope, error);
}

/** Counts an exception that is reported otherwise. */
export function countFault(scope: FaultScope): void {
  processCounts.faults[scope]++;
}

/** What a log line says of an exception. */
export function errorFields(error: unknown): { error: string; stack: string | undefined } {
  return { error: String(error), stack: error instanceof Error ? error.stack : undefined };
}

/**
 * Runs one of many callbacks. What it throws is reported and goes no further, so that the others have
 * their turn.
 */
export function isolated(scope: FaultScope, run: () => void): void {
  try {
    run();
  } catch (error) {
    reportFault(scope, error);
  }
}
