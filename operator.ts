/** The operator: makes tunnels of Kubernetes resources. See `--help`. */
import { type OperatorOptions, parseOperatorOptions } from "./lib/config/operator_options.ts";
import { countFault, errorFields } from "./lib/faults.ts";
import { defaultHeadLimits } from "./lib/http1/head.ts";
import type { Log } from "./lib/log.ts";
import { defaultConnectionTimeouts } from "./lib/net/http_connection.ts";
import { healthApp } from "./lib/operator/health.ts";
import { HttpServer } from "./lib/runtime/node/http_server.ts";
import { exitLogged, setUpLog } from "./lib/runtime/node/log.ts";
import { logUncaughtErrors } from "./lib/runtime/node/uncaught_errors.ts";
import { drainCommand } from "./lib/runtime/node/operator/drain_command.ts";
import { makeOperator } from "./lib/runtime/node/operator/parts.ts";
import { listenOn, runProgram, untilSignalled } from "./lib/runtime/node/program.ts";

/** Open connections to the health listener. */
const maxHealthConnections = 256;
const program = { name: "operator", parse: parseOperatorOptions, commands: [drainCommand] };

await runProgram(program, async (options) => {
  const log = setUpLog({ program: "operator", level: options.logLevel, format: options.logFormat });
  logUncaughtErrors(log);
  for (const warning of options.warnings) log.warn(warning);
  const parts = makeOperator(options, log);
  const { controllers, leader, metrics, injection } = parts;
  const fault = () => {
    const unlisted = controllers.flatMap((controller) => controller.unlisted);
    return unlisted.length > 0 ? `not listed yet: ${unlisted.join(", ")}` : injection.fault;
  };
  const health = await serveHealth(options, { fault, metrics }, log);
  await injection.start();
  log.info("Starting", {
    server: options.connection.server,
    namespace: options.namespace,
    controllers: options.controllers.join(","),
    watch: options.watchNamespaces.length === 0 ? "all" : options.watchNamespaces.join(","),
  });
  const stop = new AbortController();
  const watching = controllers.map((controller) => controller.watch(stop.signal));
  const injecting = injection.run(stop.signal);
  const leading = leader.run(stop.signal, async (signal) => {
    const acting = controllers.map((controller) => controller.act(signal));
    await Promise.all([...acting, injection.lead(signal)]);
  });
  const signal = await untilSignalled();
  log.info("Shutting down", { signal });
  const leaving = injection.leave();
  stop.abort();
  await Promise.all([...watching, leading, injecting, leaving]);
  await injection.close();
  health?.close();
  parts.close();
  log.info("Stopped");
  await exitLogged(0);
});

async function serveHealth(
  { healthAddr }: OperatorOptions,
  parts: Parameters<typeof healthApp>[0],
  log: Log,
): Promise<HttpServer | undefined> {
  if (!healthAddr) return undefined;
  const server = new HttpServer({
    fetch: healthApp(parts).fetch,
    limits: defaultHeadLimits,
    timeouts: defaultConnectionTimeouts,
    connections: { max: maxHealthConnections, maxPerAddress: 0 },
    turnedAway: (limit, peer) => log.debug("Refused a connection", { limit, peer }),
    deafened: () =>
      log.error("Reopened a listener that accepted no connections", {
        listener: "health",
      }),
    fault: (error) => {
      countFault("request");
      log.error("Health handler failed", errorFields(error));
    },
  });
  log.info("Listening", {
    listener: "health",
    address: await listenOn(server, healthAddr, "health-addr"),
  });
  return server;
}
