/** The operator's probes and metrics. */
import { Hono } from "hono";
import type { OperatorMetrics } from "./metrics.ts";

/** What the probes are about. */
export interface HealthParts {
  /** Why this replica is not ready; undefined if it is. */
  readonly fault: () => string | undefined;
  readonly metrics: OperatorMetrics;
}

/** The app behind `--health-addr`. */
export function healthApp({ fault, metrics }: HealthParts): Hono {
  const app = new Hono();
  app.get("/healthz", (c) => c.text("ok"));
  app.get("/readyz", (c) => {
    const text = fault();
    return text === undefined ? c.text("ok") : c.text(`${text}\n`, 503);
  });
  app.get(
    "/metrics",
    async (c) => c.text(await metrics.text(), 200, { "Content-Type": metrics.contentType }),
  );
  return app;
}
