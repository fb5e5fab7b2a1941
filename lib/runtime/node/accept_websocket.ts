/** The server's opening handshake (RFC 6455 section 4.2.2), on a connection that a request came over. */
import type { Socket } from "node:net";
import { encodeResponseHead, field, getField, type RequestHead } from "../../http1/head.ts";
import type { WebSocketAnswer } from "../../relay/env.ts";
import { acceptOf, handshakeFault } from "../../websocket/handshake.ts";
import { NodeWebSocket } from "./node_websocket.ts";

/** What becomes of the connection then. */
export interface AcceptOptions extends WebSocketAnswer {
  /** What came behind the request. */
  readonly rest: Uint8Array;
  /** See `NodeWebSocketOptions`. */
  readonly maxMessageBytes: number;
}

/**
 * Answers a request that asks for a WebSocket with 101.
 *
 * @throws {Error} when its handshake is at fault, or the connection ends meanwhile; it is ended then
 */
export async function acceptWebSocket(
  socket: Socket,
  { fields }: RequestHead,
  { rest, maxMessageBytes, protocol, fields: more = [] }: AcceptOptions,
): Promise<NodeWebSocket> {
  const fault = handshakeFault((name) => getField(fields, name));
  if (fault !== undefined) {
    socket.destroy();
    throw new Error(`The WebSocket handshake failed: ${fault}`);
  }
  // It listens for the end of the connection from now on.
  const webSocket = new NodeWebSocket(socket, { role: "server", maxMessageBytes, rest });
  const accept = await acceptOf(getField(fields, "sec-websocket-key")!);
  if (socket.destroyed) throw new Error("The connection ended within the WebSocket handshake");
  socket.write(encodeResponseHead(101, "Switching Protocols", [
    field("Upgrade", "websocket"),
    field("Connection", "Upgrade"),
    field("Sec-WebSocket-Accept", accept),
    ...(protocol === undefined ? [] : [field("Sec-WebSocket-Protocol", protocol)]),
    ...more,
  ]));
  return webSocket;
}
