/** Hostnames at which a relay publishes something. */

/** A hostname as the configuration has it. */
export interface Hostname {
  /** The name in lower case, without a port. `*.` in front stands for one label. */
  readonly name: string;
  /** The port in URLs that the relay makes; undefined for the scheme's default. */
  readonly port: number | undefined;
}
