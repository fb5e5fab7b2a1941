/** The agent: dials out to the relay and serves its requests from its targets. See `--help`. */
import { countFault, errorFields } from "./lib/faults.ts";
import { Agent } from "./lib/agent/agent.ts";
import { healthApp } from "./lib/agent/health.ts";
import type { AgentConfigSource } from "./lib/agent/metrics.ts";
import { reportOf, runChecks } from "./lib/commands/check_report.ts";
import { type Command, commandOf } from "./lib/commands/command.ts";
import {
  type AgentOptions,
  parseAgentCheckOptions,
  parseAgentOptions,
} from "./lib/config/agent_options.ts";
import type { ListenAddress } from "./lib/config/options/address.ts";
import { version } from "./lib/config/version.ts";
import { defaultHeadLimits } from "./lib/http1/head.ts";
import type { Log } from "./lib/log.ts";
import { PrometheusInstruments } from "./lib/runtime/node/prometheus.ts";
import { defaultConnectionTimeouts } from "./lib/net/http_connection.ts";
import { RelayProxy } from "./lib/runtime/node/agent/relay_proxy.ts";
import { RelayToken } from "./lib/runtime/node/agent/relay_token.ts";
import { singleDialer } from "./lib/runtime/node/agent/single_target.ts";
import { AgentTargets } from "./lib/runtime/node/agent/targets.ts";
import { relayChecks } from "./lib/runtime/node/check/relay_checks.ts";
import { type CheckedTarget, targetChecks } from "./lib/runtime/node/check/target_checks.ts";
import { CertificateExpiry } from "./lib/runtime/node/certificate_expiry.ts";
import { denoTracer } from "./lib/runtime/deno/tracer.ts";
import { dialRelay, type RelayDialOptions } from "./lib/runtime/node/dial_relay.ts";
import { HttpServer } from "./lib/runtime/node/http_server.ts";
import { logUncaughtErrors } from "./lib/runtime/node/uncaught_errors.ts";
import { exitLogged, setUpLog } from "./lib/runtime/node/log.ts";
import { listenOn, logWaiting, runProgram, untilSignalled } from "./lib/runtime/node/program.ts";
import {
  type PemKind,
  type TlsFile,
  type TlsFileGroup,
  TlsFiles,
} from "./lib/runtime/node/tls_files.ts";
import type { Tracer } from "./lib/trace.ts";

/** Open connections to the health listener: probes, and those who scrape metrics. */
const maxHealthConnections = 256;

/** `agent check`. */
const checkCommand: Command = commandOf({
  word: "check",
  parse: parseAgentCheckOptions,
  async make(options) {
    const tlsFiles = await TlsFiles.load(tlsFilesOf(options));
    const targets = await AgentTargets.load(options, singleDialer(options, tlsFiles));
    const results = await Promise.all([
      runChecks(relayChecks(relayOf(options, options, tlsFiles))),
      ...checkedTargets(options, targets).map((target) => runChecks(targetChecks(target))),
    ]);
    const warnings = [...options.warnings, ...tlsFiles.warnings, ...targets.warnings];
    return { ...reportOf(results.flat()), warnings };
  },
});

const program = { name: "agent", parse: parseAgentOptions, commands: [checkCommand] };

await runProgram(program, async (options) => {
  const log = setUpLog({ program: "agent", level: options.logLevel, format: options.logFormat });
  logUncaughtErrors(log);
  for (const warning of options.warnings) log.warn(warning);
  const tlsFiles = await TlsFiles.load(tlsFilesOf(options));
  const targets = await AgentTargets.load(options, singleDialer(options, tlsFiles, log));
  for (const warning of [...tlsFiles.warnings, ...targets.warnings]) log.warn(warning);
  const tracer = await denoTracer(version);
  const token = new RelayToken(options);
  const proxy = new RelayProxy(options);
  const agent = createAgent(options, { token, proxy, tlsFiles, targets, log, tracer });
  const health = options.healthAddr && await serveHealth(agent, options.healthAddr, log);
  const expiry = new CertificateExpiry({
    facts: (nowMs) => [...tlsFiles.facts(nowMs), ...targets.facts(nowMs)],
    expires: (option, seconds) => agent.metrics.certificateExpires(option, seconds),
    log,
  });
  tlsFiles.follow({ metrics: agent.metrics, log, replaced: () => expiry.look() });
  targets.follow({ agent, metrics: agent.metrics, log, replaced: () => expiry.look() });
  token.follow({ agent, metrics: agent.metrics, log });
  proxy.follow({ agent, metrics: agent.metrics, log });
  const running = agent.run();

  const signal = await Promise.race([untilSignalled(), failureOf(running)]);
  log.info("Shutting down", { signal, grace_ms: options.graceMs });
  logWaiting(log, agent.openRequests, options.graceMs, signal);
  await agent.stop(options.graceMs);
  await running;
  health?.close();
  log.info("Stopped");
  await exitLogged(0);
});

/** @throws {ConfigError} when the address can't be had */
async function serveHealth(agent: Agent, at: ListenAddress, log: Log): Promise<HttpServer> {
  const server = new HttpServer({
    fetch: healthApp(agent).fetch,
    limits: defaultHeadLimits,
    timeouts: defaultConnectionTimeouts,
    connections: { max: maxHealthConnections, maxPerAddress: 0 },
    turnedAway: (limit, peer) =>
      agent.rateLimitedLog.debug("Refused a connection", { limit, peer }),
    deafened: () =>
      log.error("Reopened a listener that accepted no connections", { listener: "health" }),
    fault: (error) => {
      countFault("request");
      log.error("Health handler failed", errorFields(error));
    },
  });
  const address = await listenOn(server, at, "health-addr");
  log.info("Listening", { listener: "health", address });
  return server;
}

/** Rejects when the agent can't go on, so that whoever supervises it starts it anew. */
async function failureOf(running: Promise<void>): Promise<never> {
  await running;
  return await new Promise(() => {});
}

/** The files of the agent's TLS. Those for the relay change together. */
function tlsFilesOf(
  { serverTls, proxyCa, targetTls }: AgentOptions,
): TlsFileGroup<AgentConfigSource>[] {
  const { caPath, caPem, certPath, certPem, keyPath, keyPem } = serverTls;
  return [
    {
      source: "relay_tls",
      files: [
        ...given("ca", "server-ca-cert", caPath, caPem),
        ...given("chain", "client-cert", certPath, certPem),
        ...given("key", "client-key", keyPath, keyPem),
      ],
    },
    { source: "proxy_tls", files: given("ca", "proxy-ca-cert", proxyCa?.path, proxyCa?.pem) },
    { source: "target_tls", files: given("ca", "ca-cert", targetTls?.caPath, targetTls?.caPem) },
  ];
}

function given(kind: PemKind, option: string, path?: string, pem?: string): TlsFile[] {
  return path === undefined || pem === undefined ? [] : [{ kind, option, path, pem }];
}

/** What an agent is made of besides its options. */
interface AgentParts {
  readonly token: RelayToken;
  readonly proxy: RelayProxy;
  readonly tlsFiles: TlsFiles<AgentConfigSource>;
  readonly targets: AgentTargets;
  readonly log: Log;
  readonly tracer: Tracer | undefined;
}

function createAgent(
  options: AgentOptions,
  { token, proxy, tlsFiles, targets, log, tracer }: AgentParts,
): Agent {
  const { serverUrl: url } = options;
  return new Agent({
    serverUrl: url,
    proxy: () => proxy.title,
    tracer,
    table: targets.table,
    maxRetryMs: options.maxRetryMs,
    connections: options.connections,
    maxStreams: options.maxConns,
    head: { ...defaultHeadLimits, maxBytes: options.maxHeaderBytes },
    poolSize: options.poolSize,
    poolIdleTimeoutMs: options.poolIdleTimeoutMs,
    version,
    instruments: new PrometheusInstruments(),
    dialRelay: (signal) => {
      const access = { token: token.value, proxy: proxy.value };
      return dialRelay(relayOf(options, access, tlsFiles), signal);
    },
  }, log);
}

/** The relay, with what the files of token, proxy and TLS hold now. */
function relayOf(
  { serverUrl: url, serverTls: { serverName } }: AgentOptions,
  { token, proxy }: Pick<AgentOptions, "token" | "proxy">,
  tlsFiles: TlsFiles<AgentConfigSource>,
): RelayDialOptions {
  return {
    ...{ url, token, serverName },
    ca: tlsFiles.pem("server-ca-cert"),
    cert: tlsFiles.pem("client-cert"),
    key: tlsFiles.pem("client-key"),
    proxy: proxy && { ...proxy, caPem: tlsFiles.pem("proxy-ca-cert") },
  };
}

/** What `agent check` looks at: the target of the options, and those of the file. */
function checkedTargets(options: AgentOptions, targets: AgentTargets): CheckedTarget[] {
  const { target: address, targetTls: tls, saTokenPath: file } = options;
  const named = targets.named.map(({ entry, dial }) => ({ ...entry, isNamed: true, dial }));
  const { dialSingle: dial } = targets;
  if (!address || !dial) return named;
  const credential = file === undefined
    ? undefined
    : { file, header: "Authorization", scheme: "Bearer" };
  return [{ name: "target", address, tls, credential, dial }, ...named];
}
