/** The relay's two Hono apps; every request comes in through one of them, upgrades too. */
import { Hono } from "hono";
import type { Exchange } from "../net/exchange.ts";
import type { TunnelSocket } from "../protocol/socket.ts";
import { connectHandler } from "./connect.ts";
import type { Relay } from "./relay.ts";
import { tunnelHandler } from "./tunnel.ts";

/** What a runtime lends to the app with each request. */
export interface RelayBindings {
  /** The request as it came and the way to its answer, without a detour over `Request` and `Response`. */
  exchange: Exchange;
  /** Completes the WebSocket handshake of this request. */
  acceptWebSocket(): Promise<TunnelSocket>;
  /** What a handler returns that answers through the exchange itself. */
  alreadyAnswered: Response;
}

/** Hono's type parameter for the apps. */
export interface RelayEnv {
  Bindings: RelayBindings;
}

/** The public listener: agents connect here, and nobody else gets an answer that says anything. */
export function publicApp(relay: Relay): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  app.get("/connect", connectHandler(relay));
  app.get("/healthz", (c) => c.text("ok"));
  return app;
}

/** The internal listener: callers' requests, probes and metrics. It is never exposed. */
export function internalApp(relay: Relay): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  app.all("/tunnel/*", tunnelHandler(relay));
  app.get("/healthz", (c) => c.text("ok"));
  app.get("/readyz", (c) => {
    if (relay.isStopping) return c.text("the relay is shutting down\n", 503);
    if (relay.registry.size === 0) return c.text("no agent is connected\n", 503);
    return c.text("ok");
  });
  app.get("/metrics", async (c) => {
    return c.text(await relay.metrics.text(), 200, { "Content-Type": relay.metrics.contentType });
  });
  return app;
}
