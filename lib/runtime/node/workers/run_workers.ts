/** The parent of a relay's workers. It takes no connection itself. */
import { createServer } from "node:net";
import process from "node:process";
import { ConfigError } from "../../../config/config_error.ts";
import type { ListenAddress } from "../../../config/options/address.ts";
import type { RelayOptions } from "../../../config/relay_options.ts";
import { listenersOf } from "../../../config/relay_listeners.ts";
import { EntryServer } from "../../../workers/entry_server.ts";
import { tryLockFile } from "../../deno/file_lock.ts";
import { mayStartPrograms } from "../../deno/own_program.ts";
import { writeToStandardError, writeToStandardOutput } from "../../deno/standard_streams.ts";
import { StateFolder } from "../admin/state_folder.ts";
import { exitLogged, setUpLog } from "../log.ts";
import { listenFailure, untilSignalled } from "../program.ts";
import { PrometheusInstruments } from "../prometheus.ts";
import { logUncaughtErrors } from "../uncaught_errors.ts";
import { SharedOutput } from "./shared_output.ts";
import {
  type CommonWelcome,
  WorkerPool,
  type WorkerPoolContext,
  WorkerStartError,
} from "./worker_pool.ts";

/** Bytes of the secrets that workers share, when there are none in files. */
const secretBytes = 32;

/** Runs the workers until a signal ends them, and this process with them. @throws {ConfigError} */
export async function runWorkers(options: RelayOptions): Promise<never> {
  refuseWhereImpossible();
  const outputs = {
    error: new SharedOutput(writeToStandardError),
    output: new SharedOutput(writeToStandardOutput),
  };
  const log = setUpLog({
    ...{ program: "relay", level: options.logLevel, format: options.logFormat },
    write: outputs.error.writeWhole,
  });
  logUncaughtErrors(log);
  for (const warning of options.warnings) log.warn(warning);
  await refuseBusyPorts(options);
  const { state } = options;
  const entries = state === undefined
    ? undefined
    : await EntryServer.open(await StateFolder.open(state, tryLockFile));
  const pool = createPool({ log, outputs, entries, welcome: await welcomeOf(options) });
  if (options.auditLog !== undefined) process.on("SIGHUP", () => pool.reopenAudit());
  const signalled = untilSignalled();
  try {
    await pool.start();
  } catch (error) {
    // The worker itself has said why.
    if (error instanceof WorkerStartError) return await exitLogged(error.code);
    throw error;
  }
  log.info("All workers are running", { workers: options.workers });
  const code = await pool.stop(await signalled, options.drainDelayMs + options.graceMs);
  await entries?.close();
  log.info("Stopped");
  return await exitLogged(code);
}

/** A pool whose workers are counted in metrics. */
function createPool(
  context: Omit<WorkerPoolContext, "metrics" | "restarted">,
): WorkerPool {
  const instruments = new PrometheusInstruments();
  const restarts = instruments.counter(
    "culvert_worker_restarts_total",
    "Workers that had ended and were started again.",
  );
  const pool = new WorkerPool({
    ...context,
    metrics: () => instruments.text(),
    restarted: () => restarts.inc(),
  });
  instruments.observeGauge(
    { name: "culvert_workers_running", help: "Workers that listen." },
    (sample) => sample(pool.running),
  );
  return pool;
}

function refuseWhereImpossible(): void {
  if (process.platform !== "linux") {
    throw new ConfigError(
      "Option --workers: several workers need Linux, which spreads connections over processes that " +
        "share a port; start one relay for each core on ports of their own instead",
    );
  }
  if (mayStartPrograms()) return;
  throw new ConfigError(
    "Option --workers: the relay must be allowed to start processes; give deno run --allow-run",
  );
}

/** What shares ports does not notice that another program has them. @throws {ConfigError} */
async function refuseBusyPorts(options: RelayOptions): Promise<void> {
  const listeners = listenersOf({ ...options, adminAddr: options.admin?.addr })
    .map(([option, address]) => [`Option ${option}`, address] as const);
  const services = (options.services?.services ?? []).flatMap(({ name, listen }) =>
    listen ? [[`Service "${name}": listen`, listen] as const] : []
  );
  for (const [origin, address] of [...listeners, ...services]) {
    if (address.port === 0) continue;
    try {
      await bindOnce(address);
    } catch (error) {
      throw new ConfigError(listenFailure(origin, address, error));
    }
  }
}

async function bindOnce({ hostname, port }: ListenAddress): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.on("error", reject);
    server.listen({ port, ...(hostname === "" ? {} : { host: hostname }) }, resolve);
  });
  await new Promise((resolve) => server.close(resolve));
}

async function welcomeOf({ workers }: RelayOptions): Promise<CommonWelcome> {
  const random = (): Uint8Array => crypto.getRandomValues(new Uint8Array(secretBytes));
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign"]) as CryptoKeyPair;
  const { kty, crv, x, y, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  return {
    workers,
    tokens: [random().toHex()],
    sessionKey: random().toBase64(),
    assertionKey: { kty, crv, x, y, d } as JsonWebKey,
    isTerminal: process.stderr.isTTY === true,
  };
}
