/** The relay: takes agents' connections and callers' requests. See `--help`. */
import { relayCommands } from "./lib/commands/relay_commands.ts";
import { parseRelayOptions, type RelayOptions } from "./lib/config/relay_options.ts";
import { version } from "./lib/config/version.ts";
import { defaultHeadLimits } from "./lib/http1/head.ts";
import type { Log } from "./lib/log.ts";
import { PrometheusInstruments } from "./lib/runtime/node/prometheus.ts";
import { Relay } from "./lib/relay/relay.ts";
import { denoTracer } from "./lib/runtime/deno/tracer.ts";
import type { AuditFile } from "./lib/runtime/node/audit_file.ts";
import { followCallerFiles } from "./lib/runtime/node/caller_files.ts";
import { CertificateExpiry } from "./lib/runtime/node/certificate_expiry.ts";
import { logUncaughtErrors } from "./lib/runtime/node/uncaught_errors.ts";
import { exitLogged, setUpLog } from "./lib/runtime/node/log.ts";
import {
  logWaiting,
  runProgram,
  type StopSignal,
  untilSignalled,
} from "./lib/runtime/node/program.ts";
import { followAssertionKeys } from "./lib/runtime/node/relay/assertion_keys.ts";
import { openAudit } from "./lib/runtime/node/relay/audit.ts";
import { followClusters, refuseSharedToken } from "./lib/runtime/node/relay/clusters.ts";
import { passThroughOf } from "./lib/relay/routes/tcp_socket.ts";
import { ServicePorts } from "./lib/runtime/node/relay/service_ports.ts";
import { followServices } from "./lib/runtime/node/relay/services.ts";
import { Published } from "./lib/runtime/node/relay/published.ts";
import { RelayAdmin } from "./lib/runtime/node/relay/admin.ts";
import { RelaySignIn } from "./lib/runtime/node/relay/sign_in.ts";
import { RelayListeners } from "./lib/runtime/node/relay/listeners.ts";
import { advertisedUrl, followRelayTokens, relaysOf } from "./lib/runtime/node/relay/peers.ts";
import { relayTlsFiles, serverTlsOf } from "./lib/runtime/node/relay/tls.ts";
import { followWebCertificates, loadWebCertificates } from "./lib/runtime/node/relay/web_tls.ts";
import type { RelaySetup } from "./lib/runtime/node/relay/setup.ts";
import { runWorkers } from "./lib/runtime/node/workers/run_workers.ts";
import { Worker } from "./lib/runtime/node/workers/worker.ts";
import { giveUpStartingPrograms } from "./lib/runtime/deno/own_program.ts";
import type { WebCertificates } from "./lib/runtime/node/web/web_certificates.ts";
import { tokenDigest } from "./lib/runtime/node/token_digest.ts";
import type { TlsFiles } from "./lib/runtime/node/tls_files.ts";

/** For callers to take the answers that say that the grace was over, in milliseconds. */
const lastAnswersMs = 1_000;

const program = { name: "relay", parse: parseRelayOptions, commands: relayCommands };

await runProgram(program, async (given) => {
  const worker = await Worker.join();
  if (given.workers > 1 && !worker) return await runWorkers(given);
  giveUpStartingPrograms();
  const options: RelaySetup = worker ? { ...worker.optionsFrom(given), worker } : given;
  const log = setUpLog({
    ...{ program: "relay", level: options.logLevel, format: options.logFormat },
    worker: worker?.log,
  });
  logUncaughtErrors(log);
  for (const warning of options.warnings) log.warn(warning);
  const tlsFiles = await relayTlsFiles(options);
  for (const warning of tlsFiles.warnings) log.warn(warning);
  const certificates = await loadWebCertificates(options);
  const audit = openAudit(options, log);
  const relay = await createRelay(options, log, tlsFiles, audit).catch(refuseSharedToken);
  const signIn = new RelaySignIn(relay, options, webScheme(options, certificates));
  if (options.services) await signIn.apply(options.services, () => Promise.resolve());
  const ports = new ServicePorts(relay, serverTlsOf(tlsFiles)?.callers, worker);
  const published = new Published(options, relay, { signIn, ports });
  const admin = await RelayAdmin.open(relay, options, published, tlsFiles);
  const web = {
    certificates,
    passThrough: passThroughOf(relay),
    passesNow: () => relay.services.table.hasTls,
  };
  worker?.serve(relay, () => audit?.reopen());
  const adminFetch = worker?.isLead === false ? undefined : admin?.fetch;
  const listeners = new RelayListeners(relay, options, serverTlsOf(tlsFiles), web, adminFetch);
  const expiry = watchExpiry(tlsFiles, certificates, relay);
  const followed = [
    ...followClusters(options, relay, published),
    ...followServices(options, relay, published),
    ...admin?.follow() ?? [],
    ...signIn.followKeys(),
    ...followAssertionKeys(options, relay),
    ...followCallerFiles(options.callers, relay.callers, relay.metrics, log),
    ...followRelayTokens(options, relay),
    ...followTlsFiles(tlsFiles, relay, { listeners, ports }, expiry),
    ...followWebCertificates(certificates, options, relay, () => expiry.look()),
  ];
  // Not awaited: while the issuer is away, callers with other credentials need not wait.
  void relay.callers.prepare();
  void relay.people.prepare();
  await listeners.listen();
  await ports.open(relay.services.table.services);
  const { directory } = options;
  if (directory) {
    const url = advertisedUrl(directory.advertise, listeners.peerAddress);
    relay.peers!.open(url);
    admin?.advertise(url);
    await worker?.listening(url, listeners.ports);
  }

  const signal = await (worker?.untilStopped() ?? untilSignalled());
  for (const files of followed) files.close();
  admin?.leave();
  await shutDown(signal, relay, { listeners, ports }, options);
  await admin?.close();
  await signIn.close();
  await audit?.close();
  log.info("Stopped");
  await exitLogged(0);
});

async function createRelay(
  options: RelaySetup,
  log: Log,
  tlsFiles: TlsFiles<"tls">,
  audit: AuditFile | undefined,
): Promise<Relay> {
  const head = { ...defaultHeadLimits, maxBytes: options.maxHeaderBytes };
  return await Relay.create(
    { ...options, services: options.services?.services, people: options.services, head, version },
    log,
    {
      instruments: new PrometheusInstruments(),
      defer: setImmediate,
      digest: tokenDigest,
      relays: await relaysOf(options, tlsFiles),
      tracer: await denoTracer(version),
      audit: audit && { log: audit, failsOpen: options.auditFail === "open" },
    },
  );
}

/** What browsers see in front: TLS, of the web listener itself or of a proxy that is trusted. */
function webScheme(
  { trustedProxies }: RelayOptions,
  certificates: WebCertificates | undefined,
): "https" | "http" {
  return trustedProxies || certificates ? "https" : "http";
}

/** Tells when certificates expire. */
function watchExpiry(
  tlsFiles: TlsFiles<"tls">,
  certificates: WebCertificates | undefined,
  { metrics, log }: Relay,
): CertificateExpiry {
  return new CertificateExpiry({
    facts: (nowMs) => [...tlsFiles.facts(nowMs), ...certificates?.facts(nowMs) ?? []],
    expires: (option, seconds) => metrics.certificateExpires(option, seconds),
    gone: (option) => metrics.certificateGone(option),
    log,
  });
}

/** Takes over certificates and CAs whose files change. */
function followTlsFiles(
  tlsFiles: TlsFiles<"tls">,
  { metrics, log }: Relay,
  { listeners, ports }: { readonly listeners: RelayListeners; readonly ports: ServicePorts },
  expiry: CertificateExpiry,
) {
  const replaced = (): void => {
    const tls = serverTlsOf(tlsFiles);
    if (tls) {
      listeners.replaceTls(tls);
      ports.replaceTls(tls.callers);
    }
    expiry.look();
  };
  return tlsFiles.follow({ metrics, log, replaced });
}

/** Readiness off; requests are taken for the drain delay; open ones have the grace; then the end. */
async function shutDown(
  signal: StopSignal,
  relay: Relay,
  { listeners, ports }: { readonly listeners: RelayListeners; readonly ports: ServicePorts },
  { drainDelayMs, graceMs, worker }: RelaySetup,
): Promise<void> {
  relay.log.info("Shutting down", { signal, drain_delay_ms: drainDelayMs, grace_ms: graceMs });
  logWaiting(relay.log, relay.openRequests, drainDelayMs + graceMs, signal);
  relay.leave(drainDelayMs);
  listeners.leave();
  await new Promise((resolve) => setTimeout(resolve, drainDelayMs));
  const deadlineMs = performance.now() + graceMs;
  listeners.stopAccepting();
  ports.close();
  await relay.drain(graceMs, worker && (() => worker.untilAllIdle(graceMs)));
  // Callers may still be taking the ends of their answers, and agents the reason for this one.
  await listeners.close(Math.max(lastAnswersMs, deadlineMs - performance.now()));
}
