/** The agent's WebSocket to its relay, by the `ws` package: why not the native one, see docs. */
// @ts-types="npm:@types/ws@8.18.2"
import { WebSocket } from "ws";
import type { IncomingMessage } from "node:http";
import { RelayRefusedError } from "../../agent/agent.ts";
import { maxMessageBytes } from "../../protocol/frame.ts";
import type { TunnelSocket } from "../../protocol/socket.ts";
import { joinWrites, WsSocket } from "./ws_socket.ts";

/** How the relay is reached. */
export interface RelayDialOptions {
  url: string;
  token: string;
  /** PEM of the CA of the relay's certificate; absent for the system's. */
  ca?: string | undefined;
  /** The agent's own certificate and key, PEM, for mutual TLS. */
  cert?: string | undefined;
  key?: string | undefined;
}

/** For connection, TLS and handshake together, in milliseconds. */
const handshakeTimeoutMs = 15_000;

/**
 * Opens the tunnel's WebSocket.
 *
 * @throws {RelayRefusedError} when the relay answers with a status.
 */
export function dialRelay(options: RelayDialOptions, signal: AbortSignal): Promise<TunnelSocket> {
  const { url, token, ca, cert, key } = options;
  const { promise, resolve, reject } = Promise.withResolvers<TunnelSocket>();
  const socket = new WebSocket(url, {
    headers: { "Authorization": `Bearer ${token}`, "Tunnel-Version": "2" },
    perMessageDeflate: false,
    followRedirects: false,
    handshakeTimeout: handshakeTimeoutMs,
    maxPayload: maxMessageBytes,
    minVersion: "TLSv1.2",
    ...(ca ? { ca } : {}),
    ...(cert && key ? { cert, key } : {}),
    ...(mayLeaveUnmasked(url) ? { generateMask: zeroMask } : {}),
  });
  const abort = (): void => socket.terminate();
  signal.addEventListener("abort", abort);
  const settled = (): void => signal.removeEventListener("abort", abort);
  socket.once("upgrade", (response: IncomingMessage) => joinWrites(response.socket));
  socket.once("open", () => {
    settled();
    resolve(new WsSocket(socket));
  });
  socket.on("unexpected-response", (_request, response: IncomingMessage) => {
    settled();
    response.destroy();
    socket.terminate();
    reject(new RelayRefusedError(response.statusCode ?? 0));
  });
  socket.on("error", (error: Error) => {
    settled();
    reject(error);
  });
  return promise;
}

/**
 * Masking (RFC 6455 section 10.3) keeps a browser's script from writing what an old intermediary
 * takes for a request of its own. An agent runs no scripts; under TLS, and on the loopback
 * interface, no intermediary sees the frames either. There a key of zeros, which saves touching
 * every byte, changes nothing; on a plain line the key stays random.
 */
function mayLeaveUnmasked(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  const isLoopback = hostname === "localhost" || hostname === "[::1]" ||
    /^127\.\d+\.\d+\.\d+$/.test(hostname);
  return protocol === "wss:" || isLoopback;
}

function zeroMask(mask: Uint8Array): void {
  mask.fill(0);
}
