/** The WebSocket that carries one TCP connection to the relay (docs/protocol.md, "TCP over WebSocket"). */
import type { Socket } from "node:net";
import type { AccessService } from "../../../config/access_options.ts";
import { isLoopback } from "../../../config/options/address.ts";
import { credentialHeaders } from "../../../access/credential.ts";
import { refusalOf, ServiceError } from "../../../access/service_error.ts";
import { tcpProtocol } from "../../../net/tcp_channel.ts";
import type { MessageSocket } from "../../../protocol/socket.ts";
import type { NodeWebSocket } from "../node_websocket.ts";
import { withTimeout } from "../../dial.ts";
import { openWebSocket, WebSocketRefusal } from "../open_websocket.ts";
import { readAnswer } from "./read_answer.ts";
import { openServiceConnection } from "./service_connection.ts";

/** How long connection, TLS and the relay's answer may take, which waits until the target is reached. */
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
  const late = new Error(`no answer within ${openTimeoutMs / 1_000} s`);
  return await withTimeout({ timeoutMs: openTimeoutMs, signal }, late, async (signal) => {
    const headers = credentialHeaders(await service.readToken());
    return await open(service, headers, await openServiceConnection(service, signal), signal);
  });
}

async function open(
  service: AccessService,
  headers: Readonly<Record<string, string>>,
  connection: Socket,
  signal: AbortSignal,
): Promise<MessageSocket> {
  const { origin, tcpPath, name, address } = service;
  const url = new URL(tcpPath, origin);
  const isPlain = url.protocol === "http:";
  url.protocol = isPlain ? "ws:" : "wss:";
  try {
    const socket = await openWebSocket({
      url,
      connection,
      headers,
      protocol: tcpProtocol,
      maxMessageBytes,
      hasZeroMask: !isPlain || isLoopback(address.hostname),
    }, signal);
    keepAlive(socket, connection);
    return socket;
  } catch (error) {
    if (error instanceof WebSocketRefusal) {
      const answer = await readAnswer(error.answer, signal);
      connection.destroy();
      throw refusalOf(answer, name);
    }
    const why = (error as { code?: string }).code === "ECONNRESET"
      ? "the relay closed the connection"
      : (error as Error).message;
    throw new ServiceError(`${name}: no answer from the relay: ${why}`, { cause: error });
  }
}

/** Ends a WebSocket whose relay does not answer any more. */
function keepAlive(socket: NodeWebSocket, connection: Socket): void {
  let isWaiting = false;
  let bytesRead = socket.bytesRead;
  const timer = setInterval(() => {
    if (socket.bytesRead !== bytesRead) isWaiting = false;
    bytesRead = socket.bytesRead;
    // While the local side reads nothing, nothing of the relay's is read either, and no Pong.
    if (isWaiting && !socket.isPaused) return socket.terminate();
    isWaiting = true;
    socket.ping();
  }, pingEveryMs);
  connection.once("close", () => clearInterval(timer));
}
