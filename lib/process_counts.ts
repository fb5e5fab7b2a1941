/**
 * What is counted for the whole process, whichever relay or agent in it is at work. Counted here and
 * read by `process_metrics.ts`, so that who counts needs no library for metrics.
 */
export const processCounts = {
  /** Log lines that nobody will read. */
  lostLogLines: 0,
  /** Exceptions that nobody caught, by what kept them from ending the process. */
  faults: { connection: 0, stream: 0, request: 0, process: 0 },
};

/** What an exception ended: one connection, one stream, one request; or, as nobody knows, nothing. */
export type FaultScope = keyof typeof processCounts.faults;
