/** The agent's probes and metrics. */
import { Hono } from "hono";
import type { Agent } from "./agent.ts";

/** The app behind `--health-addr`: `/healthz`, `/readyz`, `/targets`, `/metrics`. */
export function healthApp(agent: Agent): Hono {
  const app = new Hono();
  app.get("/healthz", (c) => c.text("ok"));
  app.get("/readyz", (c) => {
    return agent.isConnected ? c.text("ok") : c.text("not connected to the relay\n", 503);
  });
  app.get("/targets", (c) => c.json(tableOf(agent)));
  app.get("/metrics", async (c) => {
    const { metrics } = agent;
    return c.text(await metrics.text(), 200, { "Content-Type": metrics.contentType });
  });
  return app;
}

/** What the agent serves now, without paths of files. */
function tableOf({ targets: { table, refused } }: Agent): object {
  return {
    hash: table.hash ?? null,
    targets: [
      ...table.targets.map(({ name, kind, address, usesTls, credential }) => ({
        name,
        kind,
        address,
        tls: usesTls,
        credential: credential !== undefined,
      })),
      ...table.pathTargets ?? [],
    ],
    hostnames: table.hostnames,
    ...refused && { refused },
  };
}
