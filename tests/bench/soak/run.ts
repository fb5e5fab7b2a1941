/** A run of mixed traffic beside trouble, and its result: what `deno task soak` and `chaos` share. */
import { parseArgs } from "node:util";
import { positiveInteger, positiveNumber, UsageError } from "../options.ts";
import { pause, poll } from "../wait.ts";
import { Disturbances } from "./disturbances.ts";
import { LogFile } from "./log_file.ts";
import { Random } from "./random.ts";
import { Tally } from "./tally.ts";
import { runCaller } from "./traffic.ts";
import { Watch } from "./watch.ts";
import { type Plan, World } from "./world.ts";

/** How often memory is looked at and progress reported. */
const PROGRESS_INTERVAL_MS = 10_000;

/** How long the relay may take to forget streams once nobody has any. */
const QUIET_TIMEOUT_MS = 30_000;

/** After the traffic, before handles are counted: idle connections that are to go have gone. */
const SETTLE_MS = 5_000;

/** Exit code of a program that was interrupted (128 + SIGINT), as shells have it. */
const EXIT_INTERRUPTED = 130;

/** A kind of run. */
export interface Kind {
  /** What it is called in messages. */
  readonly name: string;
  readonly help: string;
  /** Callers at the same time, unless told otherwise. */
  readonly callers: string;
  /** Mean seconds between two disturbances, unless told otherwise: `--every`. */
  readonly every: string;
  /** The longest freeze in seconds, unless told otherwise: `--max-freeze`; 0 where there is none. */
  readonly maxFreeze: string;
  readonly plan: Omit<Plan, "maxFreezeMs">;
}

interface RunOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly callers: number;
  readonly everySeconds: number;
  readonly maxFreezeSeconds: number;
  /** Where the programs' logs go; undefined for a file that is kept when the run fails. */
  readonly log: string | undefined;
  readonly isHelp: boolean;
}

/** Longer than that after a disturbance is over requests must pass again. */
const MAX_RECOVERY_MS = 20_000;

function readOptions(kind: Kind, args: readonly string[]): RunOptions {
  const { values } = parse(args);
  return {
    minutes: positiveNumber("minutes", values.minutes ?? "10"),
    seed: values.seed === undefined ? randomSeed() : positiveInteger("seed", values.seed),
    callers: positiveInteger("callers", values.callers ?? kind.callers),
    everySeconds: positiveNumber("every", values.every ?? kind.every),
    maxFreezeSeconds: positiveNumber("max-freeze", values["max-freeze"] ?? kind.maxFreeze),
    log: values.log,
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
        every: { type: "string" },
        "max-freeze": { type: "string" },
        log: { type: "string" },
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

/** What the parts of a run share. */
interface RunParts {
  readonly options: RunOptions;
  readonly plan: Plan;
  readonly world: World;
  readonly disturbances: Disturbances;
  readonly tally: Tally;
  readonly watch: Watch;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/** The run itself; returns whether nothing was lost or wrong, and service always came back. */
async function run(kind: Kind, options: RunOptions, signal: AbortSignal): Promise<boolean> {
  const say = reporter(kind.name);
  const plan = { ...kind.plan, maxFreezeMs: options.maxFreezeSeconds * 1000 };
  say(`seed ${options.seed}, ${options.minutes} minutes, ${options.callers} callers`);
  const disturbances = new Disturbances();
  const tally = new Tally();
  using log = await LogFile.open(kind.name, options.log);
  await using world = await World.start({
    ...{ plan, signal, disturbances },
    onEvent: say,
    onLogLine: (line) => log.write(line),
  });
  const watch = await Watch.start(world.watched);
  await sendTraffic({ options, plan, world, disturbances, tally, watch, signal, say });

  const stuckStreams = await streamsLeft(world, signal);
  await pause(SETTLE_MS, signal);
  const recoveryMs = Math.round(disturbances.longestRecoveryMs);
  console.log([
    `seed ${options.seed}, ${options.minutes} minutes, ${disturbances.count} disturbances: ` +
    disturbances.summary(),
    `longest time from the end of one until requests passed: ${recoveryMs} ms`,
    tally.table(),
    ...await watch.report(),
    `streams that relay and agents still had when all callers were gone: ${stuckStreams}`,
    tally.summary(),
  ].join("\n"));
  const isClean = tally.total("lost") === 0 && tally.total("wrong") === 0 && stuckStreams === 0 &&
    recoveryMs <= MAX_RECOVERY_MS;
  if (isClean) log.succeeded();
  return isClean;
}

/** Prints lines with the time since the beginning. */
function reporter(name: string): (line: string) => void {
  const startedMs = performance.now();
  return (line) => {
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
    console.error(`${name}: ${seconds.padStart(5)} s  ${line}`);
  };
}

/** Sends traffic and restarts programs until the time is up; the first that throws ends the others. */
async function sendTraffic(parts: RunParts): Promise<void> {
  const { options, plan, world, disturbances, tally, say } = parts;
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
    ...plan.troubles.map((trouble) =>
      world.disturb(trouble, options.everySeconds * 1000, random.fork(), over)
    ),
    watchUntil(AbortSignal.any([over, signal]), parts),
  ];
  for (const task of tasks) task.catch((error: unknown) => failed.abort(error));
  await Promise.allSettled(tasks);
  signal.throwIfAborted();
}

/** Takes samples, reports progress, and throws when a process that is to last has ended. */
async function watchUntil(end: AbortSignal, parts: RunParts): Promise<void> {
  const { world, watch, tally, disturbances, say } = parts;
  while (!end.aborted) {
    await world.throwIfEnded();
    const processes = await watch.sample();
    say(`${tally.summary()}, ${disturbances.count} disturbances; ${processes}`);
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

/** The program around a run. @returns its exit code. */
export async function main(kind: Kind, args: readonly string[]): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort(new Error("Interrupted"));
  Deno.addSignalListener("SIGINT", interrupt);
  Deno.addSignalListener("SIGTERM", interrupt);
  try {
    const options = readOptions(kind, args);
    if (options.isHelp) {
      console.log(kind.help);
      return 0;
    }
    return await run(kind, options, interrupted.signal) ? 0 : 1;
  } catch (error) {
    if (interrupted.signal.aborted) return EXIT_INTERRUPTED;
    if (!(error instanceof Error)) throw error;
    console.error(`${kind.name}: ${error.message}`);
    return error instanceof UsageError ? 2 : 1;
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
    Deno.removeSignalListener("SIGTERM", interrupt);
  }
}
