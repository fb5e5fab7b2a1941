/** The agent: dials out to the relay and serves its requests from one target. See `--help`. */
import process from "node:process";
import { Agent } from "./lib/agent/agent.ts";
import { healthApp } from "./lib/agent/health.ts";
import { formatAddress } from "./lib/config/address.ts";
import { type AgentOptions, parseAgentOptions } from "./lib/config/agent_options.ts";
import { formatProxy } from "./lib/config/proxy.ts";
import { version } from "./lib/config/version.ts";
import { defaultHeadLimits } from "./lib/http1/head.ts";
import { defaultConnectionTimeouts } from "./lib/net/http_connection.ts";
import { checkCa, checkKeyPair } from "./lib/runtime/node/certificates.ts";
import { dialTlsTarget } from "./lib/runtime/deno/dial_tls_target.ts";
import { dialRelay } from "./lib/runtime/node/dial_relay.ts";
import { dialTarget } from "./lib/runtime/node/dial_target.ts";
import { HttpServer } from "./lib/runtime/node/http_server.ts";
import { setUpLog } from "./lib/runtime/node/log.ts";
import { listenOn, runProgram, untilSignalled } from "./lib/runtime/node/program.ts";
import { tokenFile } from "./lib/runtime/node/token_file.ts";

await runProgram("agent", parseAgentOptions, async (options) => {
  const log = setUpLog({ program: "agent", level: options.logLevel, format: options.logFormat });
  for (const warning of options.warnings) log.warn(warning);
  checkTlsFiles(options);
  const agent = createAgent(options, log);
  let health: HttpServer | undefined;
  if (options.healthAddr) {
    health = new HttpServer({
      fetch: healthApp(agent).fetch,
      limits: defaultHeadLimits,
      timeouts: defaultConnectionTimeouts,
      fault: (error) => log.error("Health handler failed", { error: String(error) }),
    });
    const address = await listenOn(health, options.healthAddr, "health-addr");
    log.info("Listening", { listener: "health", address });
  }
  const running = agent.run();

  const signal = await untilSignalled();
  log.info("Shutting down", { signal, grace_ms: options.graceMs });
  await agent.stop(options.graceMs);
  await running;
  health?.close();
  log.info("Stopped");
  process.exit(0);
});

/** @throws {ConfigError} for a certificate or key that no handshake could use. */
function checkTlsFiles({ serverTls, proxy, targetTls }: AgentOptions): void {
  const { certPath, certPem, keyPath, keyPem } = serverTls;
  if (certPath !== undefined && certPem !== undefined && keyPath !== undefined && keyPem) {
    checkKeyPair(
      { option: "client-cert", path: certPath, pem: certPem },
      { option: "client-key", path: keyPath, pem: keyPem },
    );
  }
  const cas = [
    { option: "server-ca-cert", path: serverTls.caPath, pem: serverTls.caPem },
    { option: "proxy-ca-cert", path: proxy?.caPath, pem: proxy?.caPem },
    { option: "ca-cert", path: targetTls?.caPath, pem: targetTls?.caPem },
  ];
  for (const { option, path, pem } of cas) {
    if (path !== undefined && pem !== undefined) checkCa({ option, path, pem });
  }
}

function createAgent(options: AgentOptions, log: ReturnType<typeof setUpLog>): Agent {
  const { serverUrl: url, token, serverTls, proxy, target, targetTls } = options;
  return new Agent({
    serverUrl: url,
    proxy: proxy && formatProxy(proxy),
    target: formatAddress(target),
    maxRetryMs: options.maxRetryMs,
    maxStreams: options.maxConns,
    head: { ...defaultHeadLimits, maxBytes: options.maxHeaderBytes },
    poolSize: options.poolSize,
    poolIdleTimeoutMs: options.poolIdleTimeoutMs,
    version,
    tokenFile: options.saTokenPath === undefined ? undefined : tokenFile(options.saTokenPath),
    dialRelay: (signal) => {
      const { caPem: ca, certPem: cert, keyPem: key, serverName } = serverTls;
      return dialRelay({ url, token, ca, cert, key, serverName, proxy }, signal);
    },
    dialTarget: (signal) => {
      const { serverName } = targetTls ?? {};
      const address = { ...target, serverName, timeoutMs: options.dialTimeoutMs };
      return targetTls && !targetTls.isInsecure
        ? dialTlsTarget({ ...address, ca: targetTls.caPem }, signal)
        : dialTarget({ ...address, isTls: targetTls !== undefined }, signal);
    },
  }, log);
}
