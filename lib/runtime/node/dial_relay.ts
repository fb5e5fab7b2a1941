/** The agent's WebSocket to its relay. */
import type { Socket } from "node:net";
import { RelayRefusedError } from "../../agent/relay_errors.ts";
import { addressOfUrl, formatAddress, isLoopback } from "../../config/options/address.ts";
import { maxMessageBytes } from "../../protocol/frame.ts";
import type { TunnelSocket } from "../../protocol/socket.ts";
import { openWebSocket, WebSocketRefusal } from "./open_websocket.ts";
import { withTimeout } from "../dial.ts";
import { dialThroughProxy, type ProxyAddress } from "./dial_proxy.ts";
import { readRefusal } from "./read_refusal.ts";
import { relayFailure, serverTlsAdvice } from "./relay_failure.ts";
import { openConnection } from "./open_connection.ts";
import { secure, type TlsClient } from "./verified_tls.ts";

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
  /** How long connection, proxy, TLS and handshake may take together, in milliseconds. */
  timeoutMs?: number | undefined;
}

/** How long connecting may take unless the caller says otherwise; configuration.md has it too. */
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
  const { timeoutMs = handshakeTimeoutMs } = options;
  const late = new Error(`gave up after ${timeoutMs / 1000} s`);
  return await withTimeout({ timeoutMs, signal }, late, async (signal) => {
    return await openTunnel(options, await connectTo(options, signal), signal);
  });
}

/** The connection that the WebSocket's handshake goes into: TLS, with the relay and nobody else. */
async function connectTo(options: RelayDialOptions, signal: AbortSignal): Promise<Socket> {
  const { url, proxy } = options;
  const { hostname, port } = addressOfUrl(new URL(url));
  // What it throws says all: whose name it looked up, and what the proxy answered.
  const through = proxy && await dialThroughProxy(proxy, authorityOf(url), signal);
  const tls = relayTls(options);
  try {
    const connection = through ?? await openConnection(hostname, port, signal);
    connection.setNoDelay(true);
    return isSecure(url) ? await secure(connection, tls, signal) : connection.resume();
  } catch (error) {
    if (signal.aborted) throw noAnswer(signal);
    const attempt = { hasCertificate: tls.cert !== undefined, isEstablished: false };
    throw relayFailure(error as Error, { isSecure: isSecure(url), ...attempt });
  }
}

function noAnswer({ reason }: AbortSignal): Error {
  return new Error(`No answer from the relay: ${reason?.message ?? reason}`);
}

async function openTunnel(
  options: RelayDialOptions,
  connection: Socket,
  signal: AbortSignal,
): Promise<TunnelSocket> {
  const { url, token } = options;
  const headers = { "Authorization": `Bearer ${token}`, "Tunnel-Version": "2" };
  const hasZeroMask = mayLeaveUnmasked(options);
  const request = { url: new URL(url), connection, headers, maxMessageBytes, hasZeroMask };
  try {
    return await openWebSocket(request, signal);
  } catch (error) {
    if (error instanceof WebSocketRefusal) {
      const { answer } = error;
      throw new RelayRefusedError(answer.statusCode ?? 0, await readRefusal(answer, signal));
    }
    if (signal.aborted) throw noAnswer(signal);
    const attempt = { hasCertificate: options.cert !== undefined, isEstablished: true };
    throw relayFailure(error as Error, { isSecure: isSecure(url), ...attempt });
  }
}

/** TLS with the relay, through a proxy or not. */
export function relayTls({ url, ca, cert, key, serverName }: RelayDialOptions): TlsClient {
  const name = serverName ?? addressOfUrl(new URL(url)).hostname;
  return { name, ca, cert, key, advice: serverTlsAdvice };
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
