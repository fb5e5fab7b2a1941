/** The WebSocket that carries one TCP connection to the relay (docs/protocol.md, "TCP over WebSocket"). */
// @ts-types="npm:@types/ws@8.18.2"
import { WebSocket } from "ws";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { AccessService } from "../../../config/access_options.ts";
import { isLoopback } from "../../../config/options/address.ts";
import { credentialHeaders } from "../../../access/credential.ts";
import { refusalOf, ServiceError } from "../../../access/service_error.ts";
import { tcpProtocol } from "../../../net/tcp_channel.ts";
import type { MessageSocket } from "../../../protocol/socket.ts";
import { guardSocket } from "../guarded_socket.ts";
import { joinWrites, WsSocket } from "../ws_socket.ts";
import { readAnswer } from "./read_answer.ts";
import { openServiceConnection } from "./service_connection.ts";

/** For connection, TLS and the relay's answer, which waits for the agent to reach the target. */
const openTimeoutMs = 30_000;
/** A message of the relay's at the most. */
const maxMessageBytes = 1024 * 1024;
/**
 * How often the relay is asked for a sign of life. Proxies on the way drop connections that are silent
 * for a minute, and a relay that is gone is noticed after two of these.
 */
const pingEveryMs = 25_000;

/** Opens a connection to the service's target. @throws {ServiceError} with one sentence */
export async function dialService(
  service: AccessService,
  signal: AbortSignal,
): Promise<MessageSocket> {
  const timeout = new AbortController();
  const late = new Error(`no answer within ${openTimeoutMs / 1_000} s`);
  const timer = setTimeout(() => timeout.abort(late), openTimeoutMs);
  const either = AbortSignal.any([signal, timeout.signal]);
  try {
    return await open(service, await openServiceConnection(service, either), either);
  } finally {
    clearTimeout(timer);
  }
}

function open(
  service: AccessService,
  connection: Socket,
  signal: AbortSignal,
): Promise<MessageSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<MessageSocket>();
  const { origin, tcpPath, name, address } = service;
  const url = new URL(tcpPath, origin);
  const isPlain = url.protocol === "http:";
  url.protocol = isPlain ? "ws:" : "wss:";
  const socket = new WebSocket(url, [tcpProtocol], {
    headers: credentialHeaders(service.readToken()),
    perMessageDeflate: false,
    followRedirects: false,
    maxPayload: maxMessageBytes,
    createConnection: () => connection,
    // Under TLS and on this machine no intermediary can take a frame for a request (RFC 6455 section
    // 10.3): a key of zeros saves touching every byte.
    ...(!isPlain || isLoopback(address.hostname) ? { generateMask: zeroMask } : {}),
  });
  const failed = (error: ServiceError): void => {
    settled();
    socket.terminate();
    connection.destroy();
    reject(error);
  };
  const broke = (error?: Error): void => {
    const why = error?.message ?? "the relay closed the connection";
    failed(new ServiceError(`${name}: no answer from the relay: ${why}`, { cause: error }));
  };
  const abort = (): void => broke(signal.reason as Error);
  const closed = (): void => broke();
  const settled = (): void => {
    signal.removeEventListener("abort", abort);
    connection.off("close", closed);
  };
  signal.addEventListener("abort", abort);
  connection.on("close", closed);
  // It stays: `WsSocket` has a listener of its own, but only from `open` on.
  socket.on("error", broke);
  let line: Socket | undefined;
  socket.once("upgrade", (response: IncomingMessage) => {
    line = guardSocket(response.socket);
    joinWrites(line);
  });
  socket.once("open", () => {
    settled();
    socket.off("error", broke);
    keepAlive(socket);
    resolve(new WsSocket(socket, line));
  });
  socket.on("unexpected-response", (_request, response: IncomingMessage) => {
    readAnswer(response, signal).then((answer) => failed(refusalOf(answer, name)));
  });
  if (signal.aborted) abort();
  return promise;
}

function zeroMask(mask: Uint8Array): void {
  mask.fill(0);
}

/** Ends a WebSocket whose relay does not answer any more. */
function keepAlive(socket: WebSocket): void {
  let isWaiting = false;
  const timer = setInterval(() => {
    // While the local side reads nothing, nothing of the relay's is read either, and no Pong.
    if (isWaiting && !socket.isPaused) return socket.terminate();
    isWaiting = true;
    socket.ping();
  }, pingEveryMs);
  for (const event of ["pong", "message", "ping"]) {
    socket.on(event, () => {
      isWaiting = false;
    });
  }
  socket.once("close", () => clearInterval(timer));
}
