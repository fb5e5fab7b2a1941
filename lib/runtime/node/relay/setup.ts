/** What a relay's process is set up with: its options, and its place among workers. */
import type { RelayOptions } from "../../../config/relay_options.ts";
import type { Worker } from "../workers/worker.ts";

/** Options, and what only workers have. */
export interface RelaySetup extends RelayOptions {
  /** Undefined for a relay in one process. */
  readonly worker?: Worker | undefined;
}
