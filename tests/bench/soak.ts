/**
 * `deno task soak`: mixed traffic through relay and agents for minutes or hours, while agents and
 * targets restart. Every answer is checked to its last byte. See `--help`.
 */
import { parseArgs } from "node:util";
import { positiveInteger, positiveNumber, UsageError } from "./options.ts";
import { Disturbances } from "./soak/disturbances.ts";
import { Random } from "./soak/random.ts";
import { Tally } from "./soak/tally.ts";
import { runCaller } from "./soak/traffic.ts";
import { Watch } from "./soak/watch.ts";
import { CLUSTERS, World } from "./soak/world.ts";
import { pause, poll } from "./wait.ts";

const HELP = `Usage: deno task soak [options]

Sends mixed traffic (echo, downloads, uploads with a length and in chunks, server-sent events,
WebSockets, aborted requests) through a relay and two agents to the sample target, all on loopback,
while a target and an agent restart at random intervals, in good order and by SIGKILL. Every answer
is checked to its last byte.

Options:
  --minutes N          How long traffic is sent (default 10; fractions are fine)
  --seed N             Seed of what is sent and when things restart (default: random, printed)
  --callers N          Callers at the same time (default 12)
  --restart-every S    Mean seconds between two restarts in each cluster (default 15)
  --help               Print this text

A request that fails with 502, 503, 504 or a broken connection while something restarts "failed
cleanly"; with no restart near it is "lost". A wrong byte or status, a cut body that looks whole,
or no end within a minute is "wrong". Progress goes to standard error, the result to standard output.
Exit code: 0 when nothing was lost or wrong, 1 when something was, 2 for a wrong option.`;

/** How often memory is looked at and progress reported. */
const PROGRESS_INTERVAL_MS = 10_000;

/** How long the relay may take to forget streams once nobody has any. */
const QUIET_TIMEOUT_MS = 30_000;

/** After the traffic, before handles are counted: idle connections that are to go have gone. */
const SETTLE_MS = 5_000;

/** Exit code of a program that was interrupted (128 + SIGINT), as shells have it. */
const EXIT_INTERRUPTED = 130;

interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly callers: number;
  readonly restartEverySeconds: number;
  readonly isHelp: boolean;
}

function readOptions(args: readonly string[]): SoakOptions {
  const { values } = parse(args);
  return {
    minutes: positiveNumber("minutes", values.minutes ?? "10"),
    seed: values.seed === undefined ? randomSeed() : positiveInteger("seed", values.seed),
    callers: positiveInteger("callers", values.callers ?? "12"),
    restartEverySeconds: positiveNumber("restart-every", values["restart-every"] ?? "15"),
    isHelp: values.help ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        minutes: { type: "string" },
        seed: { type: "string" },
        callers: { type: "string" },
        "restart-every": { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${reason.split(". ")[0]} (--help lists the options)`);
  }
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] || 1;
}

/** What the parts of a soak share. */
interface SoakParts {
  readonly options: SoakOptions;
  readonly world: World;
  readonly disturbances: Disturbances;
  readonly tally: Tally;
  readonly watch: Watch;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/** The soak itself; returns whether nothing was lost or wrong. */
async function soak(options: SoakOptions, signal: AbortSignal): Promise<boolean> {
  const say = reporter();
  say(`seed ${options.seed}, ${options.minutes} minutes, ${options.callers} callers`);
  const disturbances = new Disturbances();
  const tally = new Tally();
  await using world = await World.start({ signal, disturbances, onEvent: say });
  const watch = await Watch.start(world.watched);
  await sendTraffic({ options, world, disturbances, tally, watch, signal, say });

  const stuckStreams = await streamsLeft(world, signal);
  await pause(SETTLE_MS, signal);
  console.log([
    `seed ${options.seed}, ${options.minutes} minutes, ${disturbances.count} restarts`,
    tally.table(),
    ...await watch.report(),
    `streams that relay and agents still had when all callers were gone: ${stuckStreams}`,
    tally.summary(),
  ].join("\n"));
  return tally.total("lost") === 0 && tally.total("wrong") === 0 && stuckStreams === 0;
}

/** Prints lines with the time since the beginning. */
function reporter(): (line: string) => void {
  const startedMs = performance.now();
  return (line) => {
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
    console.error(`soak: ${seconds.padStart(5)} s  ${line}`);
  };
}

/** Sends traffic and restarts programs until the time is up; the first that throws ends the others. */
async function sendTraffic(parts: SoakParts): Promise<void> {
  const { options, world, disturbances, tally, say } = parts;
  const random = new Random(options.seed);
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: options.callers });
  const over = AbortSignal.timeout(options.minutes * 60_000);
  const failed = new AbortController();
  const signal = AbortSignal.any([parts.signal, failed.signal]);
  const traffic = { world, disturbances, tally, client, over, signal, onFault: say };
  const tasks = [
    ...Array.from(
      { length: options.callers },
      (_, caller) => runCaller(caller, random.fork(), traffic),
    ),
    ...CLUSTERS.map((cluster) =>
      world.disturb(cluster, options.restartEverySeconds * 1000, random.fork(), over)
    ),
    watchUntil(AbortSignal.any([over, signal]), parts),
  ];
  for (const task of tasks) task.catch((error: unknown) => failed.abort(error));
  await Promise.allSettled(tasks);
  signal.throwIfAborted();
}

/** Takes samples, reports progress, and throws when a process that is to last has ended. */
async function watchUntil(end: AbortSignal, parts: SoakParts): Promise<void> {
  const { world, watch, tally, disturbances, say } = parts;
  while (!end.aborted) {
    await world.throwIfEnded();
    const processes = await watch.sample();
    say(`${tally.summary()}, ${disturbances.count} restarts; ${processes}`);
    await pause(PROGRESS_INTERVAL_MS, end).catch(() => undefined); // the end is told by `end`
  }
}

/** Open streams by the relay's own count; 0 as soon as it says so, else what is left in the end. */
async function streamsLeft(world: World, signal: AbortSignal): Promise<number> {
  let streams = 0;
  try {
    return await poll(async () => {
      streams = await openStreams(world.metricsUrl, signal);
      return streams === 0 ? 0 : undefined;
    }, {
      what: () => `the relay to forget ${streams} streams`,
      timeoutMs: QUIET_TIMEOUT_MS,
      intervalMs: 500,
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    if (streams === 0) throw error;
    return streams;
  }
}

async function openStreams(metricsUrl: string, signal: AbortSignal): Promise<number> {
  const response = await fetch(metricsUrl, { signal });
  const text = await response.text();
  const values = text.matchAll(/^tunnel_active_connections(?:\{[^}]*\})? (\d+)$/gm);
  return values.reduce((sum, [, value]) => sum + Number(value), 0);
}

async function main(args: readonly string[]): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort(new Error("Interrupted"));
  Deno.addSignalListener("SIGINT", interrupt);
  Deno.addSignalListener("SIGTERM", interrupt);
  try {
    const options = readOptions(args);
    if (options.isHelp) {
      console.log(HELP);
      return 0;
    }
    return await soak(options, interrupted.signal) ? 0 : 1;
  } catch (error) {
    if (interrupted.signal.aborted) return EXIT_INTERRUPTED;
    if (!(error instanceof Error)) throw error;
    console.error(`soak: ${error.message}`);
    return error instanceof UsageError ? 2 : 1;
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
    Deno.removeSignalListener("SIGTERM", interrupt);
  }
}

// After an interrupt, a WebSocket that still waits for the end of a killed peer keeps nothing up.
Deno.exit(await main(Deno.args));
