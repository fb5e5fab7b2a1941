/** Addresses: where to listen, as Go writes them, and which target to dial. */
import { z } from "zod";

/** Where a server listens. */
export interface ListenAddress {
  /**
   * A name or an IP address without brackets; `""` means all interfaces, IPv6 and IPv4. Node's
   * `listen` takes `""` as no host at all, which is what is meant.
   */
  readonly hostname: string;
  /** 0 to 65535; 0 lets the system choose. */
  readonly port: number;
}

/** What an agent dials. */
export interface TargetAddress {
  /** A name or an IP address without brackets; never empty. */
  readonly hostname: string;
  /** 1 to 65535. */
  readonly port: number;
}

const ADDRESS = /^(?:\[([^\[\]]+)\]|([^\[\]:]*)):(0|[1-9]\d{0,4})$/;
const HOST_NAME = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})$/;
const ipv4 = z.ipv4();
const ipv6 = z.ipv6();

/** Reads `:8443`, `127.0.0.1:0`, `localhost:80` or `[::1]:8080`; undefined for anything else. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = ADDRESS.exec(text);
  if (match === null) return undefined;
  const [, bracketed, bare = "", portText] = match;
  const port = Number(portText);
  if (port > 65_535) return undefined;
  if (bracketed !== undefined) {
    return isIpv6(bracketed) ? { hostname: bracketed, port } : undefined;
  }
  return bare === "" || isHostOrIpv4(bare) ? { hostname: bare, port } : undefined;
}

/** Reads `HOST:PORT` with both parts there; undefined for anything else. */
export function parseTargetAddress(text: string): TargetAddress | undefined {
  const address = parseListenAddress(text);
  const isComplete = address !== undefined && address.hostname !== "" && address.port !== 0;
  return isComplete ? address : undefined;
}

/** Reads a name or an IP address without brackets; undefined for anything else. */
export function parseHost(text: string): string | undefined {
  return isHostOrIpv4(text) || isIpv6(text) ? text : undefined;
}

/** Writes an address as it is given in options and in a Connect frame: `host:port`. */
export function formatAddress({ hostname, port }: ListenAddress | TargetAddress): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/**
 * What a URL leads to: its host without brackets, and its port or the one that its scheme stands for
 * (`https:` and `wss:` 443, others 80).
 */
export function addressOfUrl({ hostname, port, protocol }: URL): TargetAddress {
  const isTls = protocol === "https:" || protocol === "wss:";
  return {
    hostname: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(port || (isTls ? 443 : 80)),
  };
}

/** Whether a host, without brackets, is this machine alone, by its name or address. */
export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "::1" || /^127(?:\.\d+){3}$/.test(hostname);
}

function isIpv6(text: string): boolean {
  // A zone ("fe80::1%eth0") is the operating system's business: any name will do.
  return ipv6.safeParse(text.replace(/%[\w.-]+$/, "")).success;
}

function isHostOrIpv4(text: string): boolean {
  // Digits and dots alone can only be meant as IPv4: "10.0.0.256" is no host name.
  if (/^[\d.]+$/.test(text)) return ipv4.safeParse(text).success;
  return HOST_NAME.test(text);
}
