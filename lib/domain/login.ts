/** Where people sign in, and for how long. */
import type { Hostname } from "./hostname.ts";

/** The key `login` of the services files. */
export interface Login {
  /** The host where people sign in, with the port that its URLs have, if any. */
  readonly host: Hostname;
  /** The provider of services that name none. */
  readonly provider?: string | undefined;
  /** How long a session lasts at most, in milliseconds. */
  readonly sessionMs: number;
  /** How long a session lasts without a request, in milliseconds. */
  readonly idleMs: number;
  /** Whether people may sign in for programs on other machines, by typing a code. */
  readonly deviceFlow?: boolean | undefined;
  /** Who may see the relay's status on the login host. */
  readonly statusPolicy?: string | undefined;
}
