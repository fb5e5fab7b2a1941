/** The relay's app where there is one port for agents, callers and services: at the edge. */
import { type Context, Hono } from "hono";
import { requestedUpgrade } from "../http1/fields.ts";
import { ownPaths } from "./app.ts";
import { connectHandler } from "./routes/connect.ts";
import type { RelayEnv } from "./env.ts";
import { answerError } from "./error_response.ts";
import { upgradeNotSupported } from "./request_errors.ts";
import type { Relay } from "./relay.ts";
import { isServiceHost, serviceHandler } from "./routes/service.ts";
import { tunnelHandler } from "./routes/tunnel.ts";

/**
 * Services at their hostnames; at every other host `/connect`, `/tunnel/…` and `/healthz`, through the
 * same handlers as in a container. Everybody reaches the port, so there is nothing on it that says how
 * many agents there are.
 */
export function edgeApp(relay: Relay): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  const service = webSocketsOnly(serviceHandler(relay, ownPaths(relay)));
  app.use("*", async (c, next) => {
    if (!isServiceHost(relay, c.env.exchange)) return await next();
    return await service(c);
  });
  app.get("/connect", connectHandler(relay));
  app.all("/tunnel/*", webSocketsOnly(tunnelHandler(relay)));
  app.get("/healthz", (c) => c.text("ok"));
  return app;
}

type Handler = (c: Context<RelayEnv>) => Response | Promise<Response>;

/** Platforms hand over WebSockets and no other protocol. */
function webSocketsOnly(handler: Handler): Handler {
  return function serve(c) {
    const { exchange, alreadyAnswered } = c.env;
    const upgrade = requestedUpgrade(exchange.head);
    if (upgrade === undefined || upgrade.toLowerCase() === "websocket") return handler(c);
    answerError(exchange, upgradeNotSupported);
    return alreadyAnswered;
  };
}
