/** The agent's WebSocket to its relay, by the `ws` package: why not the native one, see docs. */
// @ts-types="npm:@types/ws@8.18.2"
import { WebSocket } from "ws";
import type { ClientRequest, IncomingMessage } from "node:http";
import { isIP, type Socket } from "node:net";
import { checkServerIdentity, connect as connectTls, type ConnectionOptions } from "node:tls";
import { RelayRefusedError } from "../../agent/relay_errors.ts";
import { addressOfUrl, formatAddress, isLoopback } from "../../config/options/address.ts";
import { maxMessageBytes } from "../../protocol/frame.ts";
import type { TunnelSocket } from "../../protocol/socket.ts";
import { dialThroughProxy, type ProxyAddress } from "./dial_proxy.ts";
import { readRefusal } from "./read_refusal.ts";
import { relayFailure } from "./relay_failure.ts";
import { guardSocket } from "./guarded_socket.ts";
import { joinWrites, WsSocket } from "./ws_socket.ts";

/** How the relay is reached. */
export interface RelayDialOptions {
  url: string;
  token: string;
  /** PEM of the CA of the relay's certificate; absent for public CAs. */
  ca?: string | undefined;
  /** The agent's own certificate and key, PEM, for mutual TLS. */
  cert?: string | undefined;
  key?: string | undefined;
  /** What the relay's certificate must hold, where it is another name than the URL's. */
  serverName?: string | undefined;
  proxy?: ProxyAddress | undefined;
  /** For connection, proxy, TLS and handshake together, in milliseconds. */
  timeoutMs?: number | undefined;
}

/** As documented in configuration.md. */
const handshakeTimeoutMs = 15_000;

/**
 * Opens the tunnel's WebSocket.
 *
 * @throws {RelayRefusedError} when the relay answers with a status.
 */
export async function dialRelay(
  options: RelayDialOptions,
  signal: AbortSignal,
): Promise<TunnelSocket> {
  const { proxy, url, timeoutMs = handshakeTimeoutMs } = options;
  const timeout = new AbortController();
  const late = new Error(`gave up after ${timeoutMs / 1000} s`);
  const timer = setTimeout(() => timeout.abort(late), timeoutMs);
  const either = AbortSignal.any([signal, timeout.signal]);
  try {
    const connection = proxy && await dialThroughProxy(proxy, authorityOf(url), either);
    return await openWebSocket(options, connection, either);
  } finally {
    clearTimeout(timer);
  }
}

/** @param connection Through a proxy, to the relay's port; absent to make one. */
function openWebSocket(
  options: RelayDialOptions,
  connection: Socket | undefined,
  signal: AbortSignal,
): Promise<TunnelSocket> {
  const { url, token } = options;
  const { promise, resolve, reject } = Promise.withResolvers<TunnelSocket>();
  const tls = relayTls(options);
  let isEstablished = false;
  const socket = new WebSocket(url, {
    headers: { "Authorization": `Bearer ${token}`, "Tunnel-Version": "2" },
    perMessageDeflate: false,
    followRedirects: false,
    maxPayload: maxMessageBytes,
    ...tls,
    ...(connection && { createConnection: () => secured(connection, url, tls) }),
    ...(mayLeaveUnmasked(options) ? { generateMask: zeroMask } : {}),
    finishRequest(request: ClientRequest) {
      const established = (): void => void (isEstablished = true);
      request.once(
        "socket",
        (line) => line.once(isSecure(url) ? "secureConnect" : "connect", established),
      );
      request.end();
    },
  });
  const abort = (): void => {
    const { reason } = signal;
    reject(new Error(`No answer from the relay: ${reason?.message ?? reason}`));
    socket.terminate();
  };
  signal.addEventListener("abort", abort);
  const settled = (): void => signal.removeEventListener("abort", abort);
  let line: IncomingMessage["socket"] | undefined;
  socket.once("upgrade", (response: IncomingMessage) => {
    line = guardSocket(response.socket);
    joinWrites(line);
  });
  socket.once("open", () => {
    settled();
    resolve(new WsSocket(socket, line));
  });
  socket.on("unexpected-response", (_request, response: IncomingMessage) => {
    settled();
    readRefusal(response, signal).then((details) => {
      socket.terminate();
      reject(new RelayRefusedError(response.statusCode ?? 0, details));
    });
  });
  socket.on("error", (error: Error & { code?: string }) => {
    settled();
    const hasCertificate = tls.cert !== undefined;
    reject(relayFailure(error, { isSecure: isSecure(url), hasCertificate, isEstablished }));
  });
  if (signal.aborted) abort();
  return promise;
}

/** TLS with the relay, for the connection that `ws` makes as for one through a proxy. */
export function relayTls({ url, ca, cert, key, serverName }: RelayDialOptions): ConnectionOptions {
  const name = serverName ?? addressOfUrl(new URL(url)).hostname;
  return {
    minVersion: "TLSv1.2",
    // A name indication must not be an address (RFC 6066 section 3).
    servername: isIP(name) ? "" : name,
    checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
    ...(ca ? { ca } : {}),
    ...(cert && key ? { cert, key } : {}),
  };
}

/** What `ws` writes its request to: the connection, or TLS in it. */
function secured(connection: Socket, url: string, tls: ConnectionOptions): Socket {
  return isSecure(url) ? connectTls({ ...tls, socket: connection }) : connection.resume();
}

/** `HOST:PORT` of a WebSocket URL, as CONNECT has it. */
function authorityOf(url: string): string {
  return formatAddress(addressOfUrl(new URL(url)));
}

function isSecure(url: string): boolean {
  return url.startsWith("wss:");
}

/**
 * Masking (RFC 6455 section 10.3) keeps a browser's script from writing what an old intermediary
 * takes for a request of its own. An agent runs no scripts; under TLS, and on the loopback
 * interface, no intermediary sees the frames either. There a key of zeros, which saves touching
 * every byte, changes nothing; on a plain line the key stays random.
 */
function mayLeaveUnmasked({ url, proxy }: RelayDialOptions): boolean {
  const isHere = isLoopback(addressOfUrl(new URL(url)).hostname);
  return isSecure(url) || (isHere && proxy === undefined);
}

function zeroMask(mask: Uint8Array): void {
  mask.fill(0);
}
