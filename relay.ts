/** The relay: takes agents' connections and callers' requests. See `--help`. */
import process from "node:process";
import { relayCommands } from "./lib/commands/relay_commands.ts";
import { isClustersFile, readClustersFiles } from "./lib/config/clusters_files.ts";
import { ConfigError } from "./lib/config/config_error.ts";
import { parseRelayOptions, type RelayOptions } from "./lib/config/relay_options.ts";
import { version } from "./lib/config/version.ts";
import { defaultHeadLimits, type HeadLimits } from "./lib/http1/head.ts";
import type { Log } from "./lib/log.ts";
import { defaultConnectionTimeouts } from "./lib/net/http_connection.ts";
import { healthApp, internalApp, publicApp } from "./lib/relay/app.ts";
import { RelayMetrics } from "./lib/relay/metrics.ts";
import { withHopSlack } from "./lib/relay/hop/hop_fields.ts";
import type { RelaysOptions } from "./lib/relay/hop/join_relays.ts";
import type { DialPeer } from "./lib/relay/hop/peers.ts";
import { Relay } from "./lib/relay/relay.ts";
import { SameTokenError } from "./lib/relay/tokens.ts";
import { dialPeer } from "./lib/runtime/deno/dial_peer.ts";
import { denoTracer } from "./lib/runtime/deno/tracer.ts";
import { AuditFile } from "./lib/runtime/node/audit_file.ts";
import { followCallerFiles } from "./lib/runtime/node/caller_files.ts";
import { CertificateExpiry } from "./lib/runtime/node/certificate_expiry.ts";
import { followConfig } from "./lib/runtime/node/followed_config.ts";
import { type AppFetch, HttpServer, type ServerTls } from "./lib/runtime/node/http_server.ts";
import { setUpLog } from "./lib/runtime/node/log.ts";
import { listenOn, runProgram, untilSignalled } from "./lib/runtime/node/program.ts";
import { type TlsFile, type TlsFileGroup, TlsFiles } from "./lib/runtime/node/tls_files.ts";
import type { WatchedFiles } from "./lib/runtime/node/watched_files.ts";

/** For callers to take the answers that say that the grace was over, in milliseconds. */
const lastAnswersMs = 1_000;

const program = { name: "relay", parse: parseRelayOptions, commands: relayCommands };

await runProgram(program, async (options) => {
  const log = setUpLog({ program: "relay", level: options.logLevel, format: options.logFormat });
  for (const warning of options.warnings) log.warn(warning);
  const head = { ...defaultHeadLimits, maxBytes: options.maxHeaderBytes };
  const tlsFiles = new TlsFiles(tlsFilesOf(options));
  const audit = openAudit(options, log);
  const relay = await Relay.create(
    {
      clusters: options.clusters,
      callers: options.callers,
      limits: options.limits,
      clusterLimits: options.clusterLimits,
      responseTimeoutMs: options.responseTimeoutMs,
      idleTimeoutMs: options.idleTimeoutMs,
      maxBodyBytes: options.maxBodyBytes,
      head,
      maxStreams: options.maxStreams,
      version,
    },
    log,
    {
      metrics: (registry) => new RelayMetrics(registry, version),
      defer: setImmediate,
      relays: await relaysOf(options, tlsFiles),
      tracer: await denoTracer(version),
      audit: audit && { log: audit, failsOpen: options.auditFail === "open" },
    },
  ).catch(refuseSharedToken);
  const followed = [
    ...followClusters(options, relay),
    ...followCallerFiles(options.callers, relay.callers, relay.metrics, log),
  ];
  // Not awaited: while the issuer is away, callers with other credentials need not wait.
  void relay.callers.prepare();
  const serverTls = tlsOf(tlsFiles);
  const serve = (fetch: AppFetch, tls?: ServerTls, limits: HeadLimits = head): HttpServer =>
    new HttpServer({
      fetch,
      tls,
      limits,
      timeouts: {
        ...defaultConnectionTimeouts,
        headMs: options.headerTimeoutMs,
        stallMs: options.idleTimeoutMs,
      },
      refused: (status, reason, peer) => {
        relay.metrics.requestRefused(status);
        log.info("Refused a request", { status, reason, peer });
      },
      handshakeFailed: ({ reason, detail, peer }) => {
        relay.metrics.tlsHandshakeFailed(reason);
        // A port check is no event.
        const level = reason === "silent" ? "debug" : "info";
        log[level]("TLS handshake failed", { reason, detail, peer });
      },
      fault: (error) => log.error("Request handler failed", { error: String(error) }),
    });
  const publicServer = serve(publicApp(relay).fetch, serverTls);
  // A head that another relay has let in comes with a few fields more.
  const internalLimits = options.directory ? withHopSlack(head) : head;
  const internalServer = serve(internalApp(relay).fetch, serverTls, internalLimits);
  const bound = [
    ["public", await listenOn(publicServer, options.addr, "addr")],
    ["internal", await listenOn(internalServer, options.internalAddr, "internal-addr")],
  ];
  const tls = options.tls ? (options.tls.clientCaPem ? "mutual" : "on") : "off";
  for (const [listener, address] of bound) log.info("Listening", { listener, address, tls });
  const healthServer = options.healthAddr && serve(healthApp(relay).fetch);
  if (healthServer) {
    const address = await listenOn(healthServer, options.healthAddr, "health-addr");
    log.info("Listening", { listener: "health", address, tls: "off" });
  }
  const expiry = new CertificateExpiry({
    facts: (nowMs) => tlsFiles.facts(nowMs),
    expires: (option, seconds) => relay.metrics.certificateExpires(option, seconds),
    log,
  });
  followed.push(...tlsFiles.follow({
    metrics: relay.metrics,
    log,
    replaced: () => {
      const changed = tlsOf(tlsFiles);
      if (changed) {
        for (const server of [publicServer, internalServer]) server.replaceTls(changed);
      }
      expiry.look();
    },
  }));

  if (options.directory) {
    const [, internal = ""] = bound[1]!;
    relay.elsewhere!.open(advertisedUrl(options.directory.advertise, internal));
  }

  const signal = await untilSignalled();
  for (const files of followed) files.close();
  const { drainDelayMs: drain_delay_ms, graceMs: grace_ms } = options;
  log.info("Shutting down", { signal, drain_delay_ms, grace_ms });
  relay.leave();
  for (const server of [publicServer, internalServer]) server.leave();
  await new Promise((resolve) => setTimeout(resolve, options.drainDelayMs));
  const deadlineMs = performance.now() + options.graceMs;
  publicServer.stopAccepting();
  internalServer.stopAccepting();
  await relay.drain(options.graceMs);
  // Callers may still be taking the ends of their answers, and agents the reason for this one.
  const leftMs = Math.max(lastAnswersMs, deadlineMs - performance.now());
  await Promise.all([publicServer.drained(leftMs), internalServer.drained(leftMs)]);
  publicServer.close();
  internalServer.close();
  healthServer?.close();
  await audit?.close();
  log.info("Stopped");
  process.exit(0);
});

/**
 * Opens the audit log, if there is to be one; SIGHUP opens it anew.
 *
 * @throws {ConfigError} when it can't be opened.
 */
function openAudit({ auditLog: path, auditFail }: RelayOptions, log: Log): AuditFile | undefined {
  if (path === undefined) return undefined;
  const requests = auditFail === "closed" ? "refused" : "not recorded";
  try {
    const audit = new AuditFile(path, {
      failed: ({ message }) =>
        log.error("The audit log can't be written", { error: message, requests }),
      recovered: () => log.warn("The audit log can be written again"),
    });
    process.on("SIGHUP", () => audit.reopen());
    return audit;
  } catch (error) {
    const { message } = error as Error;
    throw new ConfigError(
      `Option --audit-log: can't open ${JSON.stringify(path)} for writing: ${message}; ` +
        "choose a file that can be written, or - for standard output",
    );
  }
}

/** What it takes to work with other relays, if there are any. */
async function relaysOf(
  { directory }: RelayOptions,
  tlsFiles: TlsFiles<"tls">,
): Promise<RelaysOptions | undefined> {
  if (!directory) return undefined;
  // A relay on its own does without the client.
  const { redisStore } = await import("./lib/runtime/node/redis_store.ts");
  const { url, token } = directory;
  const dial: DialPeer = (peerUrl, signal) => {
    const clientCa = tlsFiles.pem("tls-client-ca");
    const ca = tlsFiles.pem("relay-ca") ?? clientCa;
    // A relay that demands certificates gets this one's own.
    const own = clientCa === undefined
      ? {}
      : { cert: tlsFiles.pem("tls-cert"), key: tlsFiles.pem("tls-key") };
    return dialPeer(peerUrl, { ca, ...own }, signal);
  };
  return { token, store: redisStore(url), dial };
}

/** The advertised origin, in which port 0 stands for the one that was bound. */
function advertisedUrl(advertise: string, bound: string): string {
  const url = new URL(advertise);
  if (url.port === "0") url.port = bound.slice(bound.lastIndexOf(":") + 1);
  return url.origin;
}

/** The files of the relay's TLS: all of them change together. */
function tlsFilesOf({ tls, directory }: RelayOptions): TlsFileGroup<"tls">[] {
  const files: TlsFile[] = [];
  if (tls) {
    files.push(
      { kind: "chain", option: "tls-cert", path: tls.certPath, pem: tls.certPem },
      { kind: "key", option: "tls-key", path: tls.keyPath, pem: tls.keyPem },
    );
  }
  const cas = [
    { option: "tls-client-ca", path: tls?.clientCaPath, pem: tls?.clientCaPem },
    { option: "relay-ca", path: directory?.caPath, pem: directory?.caPem },
  ];
  for (const { option, path, pem } of cas) {
    if (path !== undefined && pem !== undefined) files.push({ kind: "ca", option, path, pem });
  }
  return [{ source: "tls", files }];
}

function tlsOf(files: TlsFiles<"tls">): ServerTls | undefined {
  const [cert, key] = [files.pem("tls-cert"), files.pem("tls-key")];
  if (cert === undefined || key === undefined) return undefined;
  return { cert, key, clientCa: files.pem("tls-client-ca") };
}

/** @throws {ConfigError} for what only the tokens' digests show, and any other error as it is. */
function refuseSharedToken(error: unknown): never {
  throw error instanceof SameTokenError ? new ConfigError(error.message) : error;
}

/** Takes over what the clusters' files hold when they change; JSON on the command line does not. */
function followClusters(
  { clustersSource, tls }: RelayOptions,
  relay: Relay,
): WatchedFiles[] {
  if (!clustersSource) return [];
  const { path, files: known } = clustersSource;
  const demandsCertificate = tls?.clientCaPem !== undefined;
  const files = followConfig({
    source: "clusters",
    paths: [path],
    accepts: isClustersFile,
    known,
    async apply(files) {
      const { clusters, warnings } = readClustersFiles(path, files, { demandsCertificate });
      const changes = await relay.replaceClusters(clusters);
      for (const warning of warnings) relay.log.warn(warning);
      return changes;
    },
    metrics: relay.metrics,
    log: relay.log,
  });
  return [files];
}
