/** The client's opening handshake (RFC 6455 section 4.1), over a connection that is there already. */
import { request as httpRequest } from "node:http";
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { createHandshakeKey } from "../../websocket/handshake.ts";
import { guardSocket } from "./guarded_socket.ts";
import { NodeWebSocket } from "./node_websocket.ts";

/** What is asked for, and how. */
export interface WebSocketRequest {
  /** `ws:` or `wss:`; the connection leads there already. */
  readonly url: URL;
  readonly connection: Socket;
  /** Further fields, such as credentials. */
  readonly headers: Readonly<Record<string, string>>;
  /** The subprotocol that is offered, and must be agreed to; none without it. */
  readonly protocol?: string;
  /** See `NodeWebSocketOptions`. */
  readonly maxMessageBytes: number;
  readonly hasZeroMask: boolean;
}

/** The server answered with another status than 101. Whoever catches it must read or end the answer. */
export class WebSocketRefusal extends Error {
  override readonly name = "WebSocketRefusal";

  constructor(readonly answer: IncomingMessage) {
    super(`The server answered with status ${answer.statusCode}`);
  }
}

/**
 * Opens a WebSocket. The connection is ended unless it is returned or a {@link WebSocketRefusal}
 * is thrown.
 *
 * @throws {WebSocketRefusal}
 * @throws the connection's error, the signal's reason, or an error that says what of the answer is wrong
 */
export async function openWebSocket(
  request: WebSocketRequest,
  signal: AbortSignal,
): Promise<NodeWebSocket> {
  const { connection, maxMessageBytes, hasZeroMask } = request;
  try {
    const { key, accept } = await createHandshakeKey();
    signal.throwIfAborted();
    const { answer, rest } = await exchangeHandshake(request, key, signal);
    checkAnswer(answer, accept, request.protocol);
    const socket = guardSocket(answer.socket);
    return new NodeWebSocket(socket, { role: "client", maxMessageBytes, hasZeroMask, rest });
  } catch (error) {
    if (!(error instanceof WebSocketRefusal)) connection.destroy();
    throw error;
  }
}

/** A 101, with what came behind it. */
interface Agreement {
  readonly answer: IncomingMessage;
  readonly rest: Uint8Array;
}

function exchangeHandshake(
  request: WebSocketRequest,
  key: string,
  signal: AbortSignal,
): Promise<Agreement> {
  const { promise, resolve, reject } = Promise.withResolvers<Agreement>();
  const { connection } = request;
  const sent = sendHandshake(request, key);
  const aborted = (): void => reject(signal.reason);
  const broken = (error: Error): void => reject(error);
  const closed = (): void => reject(connection.errored ?? hangUp());
  signal.addEventListener("abort", aborted);
  connection.on("error", broken).on("close", closed);
  // A listener stays for what comes after the end of the handshake: an error without one is thrown.
  sent.on("error", broken);
  sent.once("upgrade", (answer: IncomingMessage, _socket: unknown, rest: Uint8Array) => {
    resolve({ answer, rest });
  });
  sent.once("response", (answer: IncomingMessage) => reject(new WebSocketRefusal(answer)));
  if (connection.destroyed) closed();
  return promise.finally(() => {
    signal.removeEventListener("abort", aborted);
    connection.off("error", broken).off("close", closed);
  });
}

function sendHandshake(
  { url, connection, headers, protocol }: WebSocketRequest,
  key: string,
): ClientRequest {
  const sent = httpRequest({
    createConnection: () => connection,
    host: url.hostname,
    port: url.port,
    path: `${url.pathname}${url.search}`,
    setDefaultHeaders: false,
    headers: {
      "Host": url.host,
      "Connection": "Upgrade",
      "Upgrade": "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": key,
      ...(protocol === undefined ? {} : { "Sec-WebSocket-Protocol": protocol }),
      ...headers,
    },
  });
  sent.end();
  return sent;
}

/** @throws {Error} unless the server has agreed to exactly what was asked (RFC 6455 section 4.1). */
function checkAnswer({ headers }: IncomingMessage, accept: string, protocol?: string): void {
  if (headers.upgrade?.toLowerCase() !== "websocket") {
    throw new Error("The 101 does not upgrade to WebSocket");
  }
  if (headers["sec-websocket-accept"] !== accept) {
    throw new Error("The 101 has a Sec-WebSocket-Accept that is not the answer to the key");
  }
  if (headers["sec-websocket-extensions"] !== undefined) {
    throw new Error("The 101 has a Sec-WebSocket-Extensions, though none was offered");
  }
  const agreed = headers["sec-websocket-protocol"];
  if (agreed === protocol) return;
  throw new Error(
    protocol === undefined
      ? "The 101 has a Sec-WebSocket-Protocol, though none was offered"
      : `The 101 does not accept the subprotocol ${protocol}`,
  );
}

function hangUp(): Error {
  return Object.assign(new Error("socket hang up"), { code: "ECONNRESET" });
}
