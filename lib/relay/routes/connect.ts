/** `GET /connect`: an agent's handshake. */
import type { Context } from "hono";
import { getField } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import { asksForWebSocket, handshakeFault } from "../../websocket/handshake.ts";
import { Admission, type Refusal } from "../agents/admissions.ts";
import { readAgentCredentials } from "../agents/agent_credentials.ts";
import type { RelayEnv } from "../env.ts";
import type { Relay } from "../relay.ts";
import { AgentSession } from "./agent_session.ts";

const noToken: Refusal = { kind: "unknown_token" };

/** Handles `/connect`: authenticates the agent, accepts its WebSocket and registers the session. */
export function connectHandler(relay: Relay): (c: Context<RelayEnv>) => Promise<Response> {
  return async function connect(c) {
    const { exchange } = c.env;
    const { fields } = exchange.head;
    if (relay.isStopping) {
      return c.text("the relay is shutting down\n", 503, { "Retry-After": "1" });
    }
    // No browser is an agent: a page must not be able to use a token that it was tricked out of.
    if (getField(fields, "origin") !== undefined) return c.text("forbidden\n", 403);
    const credentials = await readAgentCredentials(fields, exchange.peer);
    const admission = credentials ? relay.admissions.admit(credentials) : noToken;
    if (!(admission instanceof Admission)) return await relay.agentRefusals.refuse(c, admission);
    if (!isWebSocketHandshake(exchange)) {
      relay.admissions.leave(admission);
      return c.text("agents connect with a WebSocket handshake\n", 426, { Upgrade: "websocket" });
    }
    // It left while its token was looked at, and nothing more would be heard of it.
    if (exchange.isOver) {
      relay.admissions.leave(admission);
      return c.env.alreadyAnswered;
    }
    const offersVersion2 = Number(getField(fields, "tunnel-version") ?? 1) >= 2;
    try {
      const socket = await c.env.acceptWebSocket();
      new AgentSession(relay, { admission, socket, offersVersion2, peer: exchange.peer.address });
    } catch (error) {
      relay.admissions.leave(admission);
      throw error;
    }
    return c.env.alreadyAnswered;
  };
}

function isWebSocketHandshake({ head }: Exchange): boolean {
  return asksForWebSocket(head) &&
    handshakeFault((name) => getField(head.fields, name)) === undefined;
}
