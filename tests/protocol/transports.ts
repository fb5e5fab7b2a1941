/**
 * What a session runs over, one after the other: in memory; our own WebSocket at both ends, plain and
 * under TLS; ours at one end and that of the `ws` package at the other; ours and Deno's own as the
 * client. The relay's end accepts, the agent's end dials.
 */
import { once } from "node:events";
import { createServer as createPlainServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect as connectPlain } from "node:net";
import { connect as connectTls } from "node:tls";
import type { TunnelSocket } from "../../lib/protocol/socket.ts";
import { within } from "../support/deadline.ts";
import { loopbackCertificate } from "../support/certificates.ts";
import {
  type Accept,
  acceptOurs,
  acceptWs,
  type Dial,
  dialDeno,
  dialOurs,
  dialWs,
  type End,
  listen,
  type Listener,
} from "../support/websocket_ends.ts";
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
export const memory: Transport = inMemory("memory");

/** @param cutAfter Bytes of each message that come before the rest of it does. */
function inMemory(name: string, cutAfter?: number): Transport {
  return {
    name,
    defer: queueMicrotask,
    hasStandardAgent: false,
    connect() {
      const [relay, agent] = memoryTunnel(8, cutAfter);
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
}

function between(name: string, dial: Dial, accept: Accept, isTls = false): Transport {
  return {
    name,
    defer: deferToTurnEnd,
    hasStandardAgent: false,
    async connect() {
      const { ca, cert, key } = await loopbackCertificate();
      const http = isTls ? createTlsServer({ cert, key }) : createPlainServer();
      const listener = await listen(http, accept);
      const options = { host: "127.0.0.1", port: listener.port };
      const connection = isTls ? connectTls({ ...options, ca }) : connectPlain(options);
      await once(connection, isTls ? "secureConnect" : "connect");
      const url = new URL(`${isTls ? "wss" : "ws"}://127.0.0.1:${listener.port}/`);
      return wire(listener, await dial(connection, url));
    },
  };
}

const fromDeno: Transport = {
  name: "Deno's WebSocket to ours",
  defer: deferToTurnEnd,
  hasStandardAgent: true,
  async connect() {
    const listener = await listen(createPlainServer(), acceptOurs);
    return wire(listener, await dialDeno(listener.port));
  },
};

/** Every kind. */
export const transports: readonly Transport[] = [
  memory,
  inMemory("memory, in parts", 6),
  between("ours", dialOurs, acceptOurs),
  between("ours under TLS", dialOurs, acceptOurs, true),
  between("ws to ours", dialWs, acceptOurs),
  between("ours to ws", dialOurs, acceptWs),
  fromDeno,
];

/** Both ends, once the relay's has accepted. */
async function wire(listener: Listener, agent: End): Promise<Wire> {
  const relay = await within(listener.accepted, "the server's end of the WebSocket");
  return {
    relay: relay.socket,
    agent: agent.socket,
    sendText: (from) => (from === "relay" ? relay : agent).sendText(),
    async [Symbol.asyncDispose]() {
      await Promise.all([agent.end(), relay.end()]);
      await listener.close();
    },
  };
}
