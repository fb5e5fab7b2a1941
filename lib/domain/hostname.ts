/** Hostnames at which a relay publishes something. */

/** A hostname as the configuration has it. */
export interface Hostname {
  /** In lower case, without a port; `*.` in front stands for one label. */
  readonly name: string;
  /** For URLs that the relay makes; undefined for the scheme's own. */
  readonly port: number | undefined;
}
