/**
 * What a session runs over, one after the other: in memory, the `ws` package at both ends, Deno's own
 * WebSocket as the client, and `ws` under TLS. The relay's end accepts, the agent's end dials.
 */
import { once } from "node:events";
import { createServer as createPlainServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
// @ts-types="npm:@types/ws@8.18.2"
import { WebSocket as WsWebSocket, WebSocketServer } from "ws";
import { maxMessageBytes } from "../../lib/protocol/frame.ts";
import { fromWebSocket, type TunnelSocket } from "../../lib/protocol/socket.ts";
import { WsSocket } from "../../lib/runtime/node/ws_socket.ts";
import { within } from "../support/deadline.ts";
import { loopbackCertificate } from "../support/certificates.ts";
import { memoryTunnel } from "./memory_tunnel.ts";

/** Which end of a tunnel. */
export type Role = "relay" | "agent";

/** Both ends of one WebSocket. Disposing it ends the connection and everything below. */
export interface Wire extends AsyncDisposable {
  readonly relay: TunnelSocket;
  readonly agent: TunnelSocket;
  /** Sends a text message from one end: a session has no verb for it. */
  sendText(from: Role): void;
}

/** A kind of WebSocket. */
export interface Transport {
  readonly name: string;
  connect(): Promise<Wire>;
  /** Runs what is put off to the end of a turn of the event loop, as the programs do. */
  readonly defer: (flush: () => void) => void;
  /** Whether the agent's end is the standard WebSocket, which can send only some close codes. */
  readonly hasStandardAgent: boolean;
}

const deferToTurnEnd = (flush: () => void): void => {
  setImmediate(flush);
};

/** In memory, with so little room that a sender waits after each message. */
export const memory: Transport = {
  name: "memory",
  defer: queueMicrotask,
  hasStandardAgent: false,
  connect() {
    const [relay, agent] = memoryTunnel(8);
    return Promise.resolve({
      relay,
      agent,
      sendText: (from) => (from === "relay" ? relay : agent).sendText(),
      async [Symbol.asyncDispose]() {
        relay.terminate();
        // The ends' last events come in turns of their own.
        for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
      },
    });
  },
};

const ws: Transport = {
  name: "ws",
  defer: deferToTurnEnd,
  hasStandardAgent: false,
  connect: () => connectWs(createPlainServer(), "ws"),
};

const wsOverTls: Transport = {
  ...ws,
  name: "ws over TLS",
  async connect() {
    const { ca, cert, key } = await loopbackCertificate();
    return connectWs(createTlsServer({ cert, key }), "wss", ca);
  },
};

const native: Transport = {
  name: "Deno's WebSocket to ws",
  defer: deferToTurnEnd,
  hasStandardAgent: true,
  async connect() {
    const listener = await listen(createPlainServer());
    const client = new WebSocket(`ws://127.0.0.1:${listener.port}/`);
    const closed = once(client, "close");
    await within(once(client, "open"), "the WebSocket to open");
    const server = await listener.accepted;
    return {
      relay: new WsSocket(server),
      agent: fromWebSocket(client),
      sendText: (from) => from === "relay" ? server.send("text") : client.send("text"),
      async [Symbol.asyncDispose]() {
        await end(server);
        await within(closed, "the client's WebSocket to close");
        await listener.close();
      },
    };
  },
};

/** Every kind. */
export const transports: readonly Transport[] = [memory, ws, native, wsOverTls];

async function connectWs(http: Server, scheme: string, ca?: string): Promise<Wire> {
  const listener = await listen(http);
  const client = new WsWebSocket(`${scheme}://127.0.0.1:${listener.port}/`, {
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    ...(ca === undefined ? {} : { ca }),
  });
  await within(once(client, "open"), "the WebSocket to open");
  const agent = new WsSocket(client);
  const server = await within(listener.accepted, "the server's end of the WebSocket");
  return {
    relay: new WsSocket(server),
    agent,
    sendText: (from) => (from === "relay" ? server : client).send("text"),
    async [Symbol.asyncDispose]() {
      await Promise.all([end(client), end(server)]);
      await listener.close();
    },
  };
}

/** A server on a free port that accepts one WebSocket. */
async function listen(http: Server) {
  const acceptor = new WebSocketServer({
    server: http,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
  });
  const accepted = once(acceptor, "connection").then(([socket]) => socket as WsWebSocket);
  http.listen({ host: "127.0.0.1", port: 0 });
  await once(http, "listening");
  const address = http.address();
  if (address === null || typeof address === "string") throw new Error("No TCP address was bound");
  return {
    port: address.port,
    accepted,
    async close() {
      const closed = once(http, "close");
      acceptor.close();
      http.close();
      http.closeAllConnections();
      await within(closed, "the server to close");
    },
  };
}

/** Ends one end at once and waits until it has. */
async function end(socket: WsWebSocket): Promise<void> {
  if (socket.readyState === socket.CLOSED) return;
  const closed = once(socket, "close");
  // A socket that does not read sees no end either.
  socket.resume();
  socket.terminate();
  await within(closed, "a WebSocket to end");
}
