/** Both ends of WebSockets, of several implementations: ours, the `ws` package, Deno's own. */
import { once } from "node:events";
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
// @ts-types="npm:@types/ws@8.18.2"
import { WebSocket as WsWebSocket, WebSocketServer } from "ws";
import { field } from "../../lib/http1/head.ts";
import { maxMessageBytes } from "../../lib/protocol/frame.ts";
import { fromWebSocket, type MessageSocket } from "../../lib/protocol/socket.ts";
import { acceptWebSocket } from "../../lib/runtime/node/accept_websocket.ts";
import { openWebSocket } from "../../lib/runtime/node/open_websocket.ts";
import { within } from "./deadline.ts";
import { WsSocket } from "./ws_socket.ts";

/** Opens one end over a connection that leads to the other. */
export type Dial = (connection: Socket, url: URL) => Promise<End>;
/** Accepts a WebSocket that was asked for. */
export type Accept = (request: IncomingMessage, socket: Socket, rest: Uint8Array) => Promise<End>;

/** One end, of whatever implementation. */
export interface End {
  readonly socket: MessageSocket;
  sendText(): void;
  /** Ends it at once; resolves when it has ended. */
  end(): Promise<void>;
}

export const dialOurs: Dial = async (connection, url) =>
  ourEnd(
    await openWebSocket({
      url,
      connection,
      headers: {},
      maxMessageBytes,
      hasZeroMask: false,
    }, new AbortController().signal),
    connection,
  );

export const acceptOurs: Accept = async ({ rawHeaders }, socket, rest) => {
  const fields = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    fields.push(field(rawHeaders[at]!, rawHeaders[at + 1]!));
  }
  const head = { method: "GET", target: "/", minor: 1, fields };
  return ourEnd(await acceptWebSocket(socket, head, { rest, maxMessageBytes }), socket);
};

function ourEnd(socket: MessageSocket, connection: Socket): End {
  return {
    socket,
    sendText: () => socket.sendText("text"),
    async end() {
      if (connection.closed) return;
      const closed = once(connection, "close");
      socket.terminate();
      await within(closed, "a WebSocket's connection to close");
    },
  };
}

export const dialWs: Dial = async (connection, url) => {
  const client = new WsWebSocket(url, {
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    createConnection: () => connection,
  });
  await within(once(client, "open"), "the WebSocket to open");
  return wsEnd(client);
};

export const acceptWs: Accept = (request, socket, rest) => {
  const { promise, resolve } = Promise.withResolvers<End>();
  const acceptor = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
  });
  acceptor.handleUpgrade(request, socket, rest as never, (server) => resolve(wsEnd(server)));
  return promise;
};

function wsEnd(ws: WsWebSocket): End {
  return {
    socket: new WsSocket(ws),
    sendText: () => ws.send("text"),
    async end() {
      if (ws.readyState === ws.CLOSED) return;
      const closed = once(ws, "close");
      // A socket that does not read sees no end either.
      ws.resume();
      ws.terminate();
      await within(closed, "a WebSocket to end");
    },
  };
}

/** Deno's own, which makes its connection by itself. */
export const dialDeno = async (port: number): Promise<End> => {
  const client = new WebSocket(`ws://127.0.0.1:${port}/`);
  const closed = once(client, "close");
  await within(once(client, "open"), "the WebSocket to open");
  return {
    socket: fromWebSocket(client),
    sendText: () => client.send("text"),
    async end() {
      client.close();
      await within(closed, "the client's WebSocket to close");
    },
  };
};

/** A server that accepts one WebSocket. */
export interface Listener {
  readonly port: number;
  readonly accepted: Promise<End>;
  close(): Promise<void>;
}

/** Listens on a free port. */
export async function listen(http: Server, accept: Accept): Promise<Listener> {
  const accepted = once(http, "upgrade").then(([request, socket, rest]) =>
    accept(request, socket, rest)
  );
  http.listen({ host: "127.0.0.1", port: 0 });
  await once(http, "listening");
  const address = http.address();
  if (address === null || typeof address === "string") throw new Error("No TCP address was bound");
  return {
    port: address.port,
    accepted,
    async close() {
      const closed = once(http, "close");
      http.close();
      http.closeAllConnections();
      await within(closed, "the server to close");
    },
  };
}
