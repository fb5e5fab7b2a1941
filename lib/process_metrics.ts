/** What prom-client tells about a process: memory, CPU, file descriptors, heap and event loop. */
import { collectDefaultMetrics, Registry } from "prom-client";

let metrics: Registry | undefined;

/**
 * The process's metrics, begun with the first call.
 *
 * They belong to the process and not to a relay or agent in it: their observers of the garbage
 * collector and the event loop can't be stopped again, so one for each would never be freed.
 */
export function processMetrics(): Registry {
  if (!metrics) collectDefaultMetrics({ register: metrics = new Registry() });
  return metrics;
}
