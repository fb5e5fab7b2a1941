/** Whether a name resolves and a port takes connections: the first checks of every peer. */
import { lookup } from "node:dns/promises";
import { connect, isIP } from "node:net";
import type { Check } from "../../../commands/check_report.ts";
import { formatAddress } from "../../../config/options/address.ts";

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

function connectTo({ hostname, port, option }: Peer, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const address = formatAddress({ hostname, port });
  const socket = connect({ host: hostname, port });
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort);
  socket.on("error", ({ code, message }: Error & { code?: string }) => {
    const advice = adviceFor[code ?? ""] ?? "check routes and firewalls";
    reject(new Error(`can't connect to ${address} (${code ?? message}); ${advice}, and ${option}`));
  });
  socket.once("connect", () => resolve(`connected to ${address}`));
  return promise.finally(() => {
    signal.removeEventListener("abort", abort);
    socket.destroy();
  });
}

const adviceFor: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens at that port: check that it runs",
  EHOSTUNREACH: "no route leads there: check routes and firewalls",
  ENETUNREACH: "no route leads there: check routes and firewalls",
};
