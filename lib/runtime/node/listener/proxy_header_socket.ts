/** Takes the PROXY protocol's header off a connection, before anybody else reads from it. */
import type { Socket } from "node:net";
import { concat, noBytes } from "../../../bytes/bytes.ts";
import { type ProxySource, readProxyHeader } from "../../../net/proxy_header.ts";
import { readPreamble } from "./preamble.ts";

/** How long the whole header may take, in milliseconds. A balancer sends it at once. */
export const proxyHeaderTimeoutMs = 3_000;

/** Why a connection of a trusted proxy's was refused. */
export type ProxyHeaderFault = "missing" | "malformed" | "timeout";

/** Who hears what came of it: one of the two, unless the peer goes away before. */
export interface ProxyHeaderEvents {
  /** The header is gone, and what came behind it is still to be read. */
  read(source: ProxySource): void;
  failed(fault: ProxyHeaderFault): void;
}

/** Reads the header. The connection does not flow when this is over. */
export function awaitProxyHeader(socket: Socket, events: ProxyHeaderEvents): void {
  let bytes: Uint8Array = noBytes;
  const stop = readPreamble(socket, proxyHeaderTimeoutMs, {
    timeout: () => events.failed("timeout"),
    receive(more) {
      bytes = concat(bytes, more);
      const header = readProxyHeader(bytes);
      if (header.kind === "incomplete") return;
      stop();
      if (header.kind === "invalid") return events.failed(header.reason);
      const rest = bytes.subarray(header.length);
      if (rest.length > 0) socket.unshift(rest);
      events.read(header.source);
    },
  });
}
