/** The operator's probes and metrics. */
import { Hono } from "hono";
import type { OperatorMetrics } from "./metrics.ts";

/** What the probes are about. */
export interface HealthParts {
  /** Whether everything has been listed once. */
  readonly isReady: () => boolean;
  readonly metrics: OperatorMetrics;
}

/** The app behind `--health-addr`. */
export function healthApp({ isReady, metrics }: HealthParts): Hono {
  const app = new Hono();
  app.get("/healthz", (c) => c.text("ok"));
  app.get("/readyz", (c) => isReady() ? c.text("ok") : c.text("not all is listed yet\n", 503));
  app.get(
    "/metrics",
    async (c) => c.text(await metrics.text(), 200, { "Content-Type": metrics.contentType }),
  );
  return app;
}
