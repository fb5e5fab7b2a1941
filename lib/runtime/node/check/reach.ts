/** Whether a name resolves and a port takes connections: the first checks of every peer. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Check } from "../../../commands/check_report.ts";
import { formatAddress } from "../../../config/options/address.ts";
import { openConnection } from "../open_connection.ts";

/** A peer to reach. */
export interface Peer {
  /** `relay`, `proxy` or `target`. */
  readonly name: string;
  readonly hostname: string;
  readonly port: number;
  /** The option that has its address. */
  readonly option: string;
}

/** Checks of a peer's name and port. */
export function reachChecks(peer: Peer): Check[] {
  return [
    { name: `${peer.name} address`, run: () => resolve(peer) },
    { name: `${peer.name} connection`, run: (signal) => connectTo(peer, signal) },
  ];
}

async function resolve({ hostname, option }: Peer): Promise<string> {
  if (isIP(hostname)) return `${hostname} needs no DNS`;
  try {
    const found = await lookup(hostname, { all: true });
    return `${hostname} is ${found.map(({ address }) => address).join(", ")}`;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    throw new Error(
      `${hostname} does not resolve (${code ?? message}); check the name in ${option}, and the ` +
        "DNS of this machine or pod",
    );
  }
}

async function connectTo({ hostname, port, option }: Peer, signal: AbortSignal): Promise<string> {
  const address = formatAddress({ hostname, port });
  try {
    const socket = await openConnection(hostname, port, signal);
    socket.destroy();
    return `connected to ${address}`;
  } catch (error) {
    signal.throwIfAborted();
    const { code, message } = error as Error & { code?: string };
    const advice = adviceFor[code ?? ""] ?? "check routes and firewalls";
    throw new Error(`can't connect to ${address} (${code ?? message}); ${advice}, and ${option}`);
  }
}

const adviceFor: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens at that port: check that it runs",
  EHOSTUNREACH: "no route leads there: check routes and firewalls",
  ENETUNREACH: "no route leads there: check routes and firewalls",
};
