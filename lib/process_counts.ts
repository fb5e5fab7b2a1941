/**
 * What is counted for the whole process, whichever relay or agent in it is at work. Counted here and
 * read by `process_metrics.ts`, so that who counts needs no library for metrics.
 */
export const processCounts = {
  /** Log lines that nobody will read. */
  lostLogLines: 0,
  /** The process's memory, where `/proc` does not tell it. */
  residentBytes: undefined as (() => number) | undefined,
  /** Exceptions that are bugs, by what they ended. */
  faults: { connection: 0, session: 0, stream: 0, request: 0, process: 0 },
};
