/** `GET /connect`: an agent's handshake, and its session from then on. */
import type { Context } from "hono";
import { getField, listHas } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import { CloseCode } from "../../protocol/errors.ts";
import { Session } from "../../protocol/session.ts";
import type { TunnelSocket } from "../../protocol/socket.ts";
import { digestToken } from "../digests.ts";
import { Admission, type Refusal } from "../agents/admissions.ts";
import type { RelayEnv } from "../env.ts";
import type { Claim } from "../directory/directory.ts";
import type { Registration } from "../agents/registry.ts";
import { handshakeTimeoutMs, type Relay } from "../relay.ts";

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
    const admission = await admit(relay, exchange);
    if (!(admission instanceof Admission)) return await relay.agentRefusals.refuse(c, admission);
    if (!isWebSocketHandshake(exchange)) {
      relay.admissions.leave(admission);
      return c.text("agents connect with a WebSocket handshake\n", 426, { Upgrade: "websocket" });
    }
    const offersVersion2 = Number(getField(fields, "tunnel-version") ?? 1) >= 2;
    try {
      const socket = await c.env.acceptWebSocket();
      runSession(relay, admission, socket, offersVersion2, exchange.peer.address);
    } catch (error) {
      relay.admissions.leave(admission);
      throw error;
    }
    return c.env.alreadyAnswered;
  };
}

/** No token is longer; what is longer is not worth hashing. */
export const maxTokenChars = 4_096;

async function admit(relay: Relay, { head, peer }: Exchange): Promise<Admission | Refusal> {
  const authorization = getField(head.fields, "authorization") ?? "";
  const token = /^Bearer (.+)$/i.exec(authorization)?.[1];
  if (token === undefined || token.length > maxTokenChars) return { kind: "unknown_token" };
  const digest = await digestToken(token);
  return relay.admissions.admit({ digest, certificate: peer.certificate });
}

/** RFC 6455 section 4.2.1. */
function isWebSocketHandshake({ head: { method, fields } }: Exchange): boolean {
  return method === "GET" && listHas(fields, "connection", "upgrade") &&
    listHas(fields, "upgrade", "websocket") &&
    getField(fields, "sec-websocket-version") === "13" &&
    /^[+/0-9A-Za-z]{22}==$/.test(getField(fields, "sec-websocket-key") ?? "");
}

/** Runs one agent's session until it ends. */
function runSession(
  relay: Relay,
  admission: Admission,
  socket: TunnelSocket,
  offersVersion2: boolean,
  peer: string,
): void {
  const { log } = relay;
  const { cluster: { id: cluster }, tokenName } = admission;
  const about = { cluster, peer };
  const session = new Session(socket, {
    role: "relay",
    settings: relay.settings,
    offersVersion2,
    defer: relay.defer,
    events: {
      draining: () => {
        log.info("Agent is draining", about);
        if (claim) relay.elsewhere?.left(claim);
      },
      fault: (error) => log.error("Session failed", { ...about, error: String(error) }),
    },
  });
  admission.whenRevoked((reason) => session.close(CloseCode.NotPermitted, reason));
  let registration: Registration | undefined;
  let claim: Claim | undefined;
  const timer = setTimeout(() => {
    session.close(CloseCode.ProtocolError, "No Settings in time");
  }, handshakeTimeoutMs);
  session.ready.then(() => {
    clearTimeout(timer);
    const instance = session.peer?.instance;
    const slot = session.peer?.slot ?? 0;
    registration = {
      session,
      instance,
      slot,
      tokenName,
      get cluster() {
        return admission.cluster;
      },
    };
    relay.registry.add(registration);
    if (relay.isStopping) session.announceDrain();
    claim = { cluster, instance, slot };
    relay.elsewhere?.arrived(claim);
    const software = session.peer?.software;
    log.info("Agent connected", {
      ...about,
      token_name: tokenName,
      version: session.version,
      instance,
      software,
    });
  }, () => clearTimeout(timer));
  session.closed.then((end) => {
    const { code, reason } = end;
    relay.admissions.leave(admission);
    if (registration) relay.registry.remove(registration);
    if (claim) relay.elsewhere?.left(claim);
    relay.metrics.sessionEnded(end, session.stats);
    const isBroken = code === CloseCode.ProtocolError || code === CloseCode.InternalError;
    log[isBroken ? "warn" : "info"]("Agent disconnected", { ...about, code, reason });
  });
}
