/** The relay's app where there is one port for agents and callers: at the edge. */
import { Hono } from "hono";
import { requestedUpgrade } from "../http1/fields.ts";
import { connectHandler } from "./routes/connect.ts";
import type { RelayEnv } from "./env.ts";
import { answerError, upgradeNotSupported } from "./errors.ts";
import type { Relay } from "./relay.ts";
import { tunnelHandler } from "./routes/tunnel.ts";

/**
 * `/connect`, `/tunnel/…` and `/healthz`, through the same handlers as in a container. Everybody
 * reaches the port, so there is nothing on it that says how many agents there are.
 */
export function edgeApp(relay: Relay): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  const tunnel = tunnelHandler(relay);
  app.get("/connect", connectHandler(relay));
  app.all("/tunnel/*", (c) => {
    const { exchange, alreadyAnswered } = c.env;
    const upgrade = requestedUpgrade(exchange.head);
    if (upgrade === undefined || upgrade.toLowerCase() === "websocket") return tunnel(c);
    answerError(exchange, upgradeNotSupported);
    return alreadyAnswered;
  });
  app.get("/healthz", (c) => c.text("ok"));
  return app;
}
