/** What prom-client tells about a process: memory, CPU, file descriptors, heap and event loop. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from "prom-client";
import { processCounts } from "../../process_counts.ts";

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
    if (processCounts.residentBytes) replaceProcMetrics(metrics, processCounts.residentBytes);
    registerCounts(metrics);
  }
  return metrics;
}

/** What prom-client reads below /proc, and has as 0 for ever where it can't. */
const procMetrics = [
  ...["process_resident_memory_bytes", "process_virtual_memory_bytes", "process_heap_bytes"],
  ...["process_open_fds", "process_max_fds"],
];

function replaceProcMetrics(metrics: Registry, residentBytes: () => number): void {
  for (const name of procMetrics) metrics.removeSingleMetric(name);
  new Gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory size in bytes.",
    registers: [metrics],
    collect() {
      this.set(residentBytes());
    },
  });
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
