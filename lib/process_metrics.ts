/** What prom-client tells about a process: memory, CPU, file descriptors, heap and event loop. */
import { collectDefaultMetrics, Counter, Registry } from "prom-client";
import { processCounts } from "./process_counts.ts";

let metrics: Registry | undefined;

/**
 * The process's metrics, begun with the first call.
 *
 * They belong to the process and not to a relay or agent in it: their observers of the garbage
 * collector and the event loop can't be stopped again, so one for each would never be freed.
 */
export function processMetrics(): Registry {
  if (!metrics) {
    metrics = new Registry();
    collectDefaultMetrics({ register: metrics });
    registerCounts(metrics);
  }
  return metrics;
}

function registerCounts(metrics: Registry): void {
  const registers = [metrics];
  new Counter({
    name: "culvert_log_lines_lost_total",
    help: "Log lines that were dropped, as standard error took no more or could not be written to.",
    registers,
    collect() {
      this.reset();
      this.inc(processCounts.lostLogLines);
    },
  });
  new Counter({
    name: "culvert_faults_total",
    help: "Exceptions that are bugs in this program, by what they ended.",
    labelNames: ["scope"],
    registers,
    collect() {
      this.reset();
      for (const [scope, count] of Object.entries(processCounts.faults)) this.inc({ scope }, count);
    },
  });
}
