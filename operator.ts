/** The operator: makes tunnels of Kubernetes resources. See `--help`. */
import { randomBytes } from "node:crypto";
import { Buffer } from "node:buffer";
import process from "node:process";
import { type OperatorOptions, parseOperatorOptions } from "./lib/config/operator_options.ts";
import { version } from "./lib/config/version.ts";
import { countFault, errorFields } from "./lib/faults.ts";
import { defaultHeadLimits } from "./lib/http1/head.ts";
import { KubeClient } from "./lib/kube/client.ts";
import { Leader } from "./lib/kube/leader.ts";
import type { Log } from "./lib/log.ts";
import { defaultConnectionTimeouts } from "./lib/net/http_connection.ts";
import { manager } from "./lib/operator/api/schema.ts";
import { healthApp } from "./lib/operator/health.ts";
import { OperatorMetrics } from "./lib/operator/metrics.ts";
import { Operator } from "./lib/operator/operator.ts";
import { Cloudflare } from "./lib/operator/dns/cloudflare.ts";
import { Rfc2136 } from "./lib/operator/dns/rfc2136.ts";
import { RelayApi } from "./lib/operator/relay_api.ts";
import { dnsExchange } from "./lib/runtime/deno/dns_exchange.ts";
import { kubeFetch } from "./lib/runtime/deno/kube_fetch.ts";
import { probeTargets, relayFetch } from "./lib/runtime/deno/relay_fetch.ts";
import { HttpServer } from "./lib/runtime/node/http_server.ts";
import { exitLogged, setUpLog } from "./lib/runtime/node/log.ts";
import { logUncaughtErrors } from "./lib/runtime/node/uncaught_errors.ts";
import { PrometheusInstruments } from "./lib/runtime/node/prometheus.ts";
import {
  type Controller,
  controllersOf,
  leaseName,
  makeManagement,
} from "./lib/runtime/node/operator/controllers.ts";
import { Injection } from "./lib/runtime/node/operator/injection.ts";
import { listenOn, runProgram, untilSignalled } from "./lib/runtime/node/program.ts";
import { tokenDigest } from "./lib/runtime/node/token_digest.ts";

/** Open connections to the health listener. */
const maxHealthConnections = 256;
/** How often Secrets are looked at, which nothing tells about. */
const checkMs = 10_000;
/** A clean-up that is refused for longer leaves what it should have taken away. */
const orphanMs = 10 * 60_000;
/** A Lease is renewed within its deadline, or not at all. */
const leaseTimeoutMs = 5_000;
const agentTokenBytes = 32;

const program = { name: "operator", parse: parseOperatorOptions };

await runProgram(program, async (options) => {
  const log = setUpLog({ program: "operator", level: options.logLevel, format: options.logFormat });
  logUncaughtErrors(log);
  for (const warning of options.warnings) log.warn(warning);
  const parts = makeOperator(options, log);
  const { controllers, leader, metrics } = parts;
  let isSynced = false;
  const { injection } = parts;
  const fault = () => isSynced ? injection.fault : "not all is listed yet";
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
  void Promise.all(controllers.map((controller) => controller.synced()))
    .then(() => isSynced = true);
  const injecting = injection.run(stop.signal);
  const leading = leader.run(stop.signal, async (signal) => {
    const acting = controllers.map((controller) => controller.act(signal));
    await Promise.all([...acting, injection.lead(signal)]);
  });
  const signal = await untilSignalled();
  log.info("Shutting down", { signal });
  stop.abort();
  await Promise.all([...watching, leading, injecting]);
  await injection.close();
  health?.close();
  parts.close();
  log.info("Stopped");
  await exitLogged(0);
});

interface Parts {
  readonly controllers: readonly Controller[];
  readonly leader: Leader;
  readonly metrics: OperatorMetrics;
  readonly injection: Injection;
  readonly close: () => void;
}

function makeOperator(options: OperatorOptions, log: Log): Parts {
  const { connection, namespace } = options;
  // A pod has its own name there.
  const instance = `${process.env["HOSTNAME"] ?? "operator"}-${randomBytes(4).toString("hex")}`;
  const { fetch, close } = kubeFetch(connection);
  const metrics: OperatorMetrics = new OperatorMetrics(new PrometheusInstruments(), () => ({
    leads: leader.leads,
    depth: controllers.reduce((sum, { depth }) => sum + depth, 0),
    ...operator.counts,
    ...management?.counts ?? { clusters: 0, registrationTokens: 0 },
    webhookExpiresMs: injection.expiresMs,
  }), version);
  const leader: Leader = new Leader({
    client: new KubeClient({ fetch, fieldManager: manager, metrics, timeoutMs: leaseTimeoutMs }),
    ...{ namespace, name: leaseName(options), identity: instance, log },
  });
  // A replica that was frozen, or whose Lease another one has taken, must not finish what it began.
  const mayWrite = () => {
    if (!leader.leads) throw new Error("This replica does not lead any more");
  };
  const client = new KubeClient({ fetch, fieldManager: manager, metrics, mayWrite });
  const fetchRelay = relayFetch();
  const relays = new RelayApi({
    fetch: fetchRelay,
    mayWrite,
    answered: (method, code) => metrics.relayAnswered(method, code),
  });
  const digest = (text: string) => Buffer.from(tokenDigest(text)).toString("hex");
  const newToken = () => randomBytes(agentTokenBytes).toString("hex");
  const operator: Operator = new Operator({
    ...{ client, relays, watchRelay: fetchRelay, digest, newToken },
    settings: {
      namespace,
      idPrefix: options.idPrefix ?? "",
      agentImage: options.agentImage,
      hasInjectionPolicy: options.injection === "policy",
      resyncMs: options.resyncMs,
      ...{ checkMs, orphanMs },
    },
    watchNamespaces: options.watchNamespaces,
    probe: probeTargets,
    dns: new Rfc2136({ exchange: dnsExchange, mayWrite }),
    cloudflare: new Cloudflare({
      fetch: (url, init) => globalThis.fetch(url, { ...init, redirect: "error" }),
      ...options.cloudflareApi && { baseUrl: options.cloudflareApi.href.replace(/\/+$/, "") },
      mayWrite,
    }),
    ...{ instance, log, metrics },
  });
  const management = makeManagement(options, {
    ...{ client, relays, digest, newToken, checkMs, orphanMs, instance, log, metrics },
  });
  const controllers = controllersOf(options, operator, management);
  const injection: Injection = new Injection({
    ...{ options, client, fetch, log },
    tunnel: (namespace, name) => operator.findTunnel(namespace, name),
    admitted: (result) => metrics.admitted(result),
  });
  return { controllers, leader, metrics, injection, close };
}

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
      log.error("A listener accepted nothing any more, and was opened anew", {
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
