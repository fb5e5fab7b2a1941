/** `listen` of services: ports that the relay opens, which must not be in each other's way. */
import type { Service } from "../../domain/service.ts";
import { ConfigError } from "../config_error.ts";
import { formatAddress, type ListenAddress } from "../options/address.ts";

/** Something that listens, and how messages name it. */
export interface Listening {
  readonly address: ListenAddress;
  /** `Option --web-addr`, or the place of a service. */
  readonly place: string;
}

/** @throws {ConfigError} when two want one port, or one wants a port of the relay's own */
export function refuseSharedPorts(
  placed: readonly { readonly service: Pick<Service, "listen">; readonly place: string }[],
  taken: readonly Listening[],
): void {
  const known = [...taken];
  for (const { service: { listen }, place } of placed) {
    if (!listen) continue;
    const other = known.find(({ address }) => overlap(address, listen));
    if (other) {
      throw new ConfigError(
        `${place}: listen: ${other.place} listens on ${formatAddress(other.address)} already; ` +
          "each needs its own port",
      );
    }
    known.push({ address: listen, place });
  }
}

/** Whether one address takes what comes for the other. */
export function overlap(a: ListenAddress, b: ListenAddress): boolean {
  if (a.port !== b.port || a.port === 0) return false;
  return a.hostname === b.hostname || covers(a.hostname, b.hostname) ||
    covers(b.hostname, a.hostname);
}

/** All interfaces, and one of them; those of IPv6 take IPv4 as well. */
function covers(all: string, hostname: string): boolean {
  if (all === "" || all === "::") return true;
  return all === "0.0.0.0" && !hostname.includes(":");
}
