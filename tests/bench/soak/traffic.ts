/** The soak's callers: each does one thing after another and has the outcome judged. */
import type { Disturbances } from "./disturbances.ts";
import { type Job, JOBS } from "./jobs.ts";
import { judge, WrongAnswerError } from "./outcome.ts";
import type { Random } from "./random.ts";
import type { Tally } from "./tally.ts";
import { type Cluster, CLUSTERS, type World } from "./world.ts";
import { pause } from "../wait.ts";

/** No piece of traffic here takes longer by itself than a few seconds: more is a hang. */
const DEADLINE_MS = 60_000;

/** The longest rest between two pieces of traffic of one caller. */
const MAX_REST_MS = 40;

/** What the callers share. */
export interface TrafficOptions {
  readonly world: World;
  readonly disturbances: Disturbances;
  readonly tally: Tally;
  readonly client: Deno.HttpClient;
  /** Ends the traffic: what is under way is finished first. */
  readonly over: AbortSignal;
  /** Ends everything at once. */
  readonly signal: AbortSignal;
  /** Told of each lost or wrong answer. */
  readonly onFault: (line: string) => void;
}

/** One caller; resolves when the traffic is over and its last piece has ended. */
export async function runCaller(
  caller: number,
  random: Random,
  options: TrafficOptions,
): Promise<void> {
  for (let count = 0; !options.over.aborted; count++) {
    options.signal.throwIfAborted();
    await runOne(chooseJob(random), random.pick(CLUSTERS), `${caller}-${count}`, random, options);
    await pause(random.integer(0, MAX_REST_MS), options.signal);
  }
}

function chooseJob(random: Random): Job {
  const total = JOBS.reduce((sum, { weight }) => sum + weight, 0);
  let left = random.fraction() * total;
  const job = JOBS.find(({ weight }) => (left -= weight) < 0) ?? JOBS[0];
  if (job === undefined) throw new Error("No kinds of traffic");
  return job;
}

async function runOne(
  job: Job,
  cluster: Cluster,
  id: string,
  random: Random,
  { world, disturbances, tally, client, signal, onFault }: TrafficOptions,
): Promise<void> {
  const fromMs = performance.now();
  try {
    const baseUrl = world.baseUrl(cluster);
    await inTime(
      signal,
      (ended) => job.run({ baseUrl, client, random: random.fork(), id, signal: ended }),
    );
    tally.add(job.name, "right");
  } catch (error) {
    signal.throwIfAborted();
    const span = { fromMs, toMs: performance.now() };
    const verdict = judge(error, cluster, span, disturbances);
    tally.add(job.name, verdict);
    if (verdict === "failed cleanly") return;
    const after = ((span.toMs - fromMs) / 1000).toFixed(1);
    const near = disturbances.during(cluster, span).join(", ") || "no restart near";
    onFault(`${verdict}: ${job.name} ${id} on ${cluster} after ${after} s (${near}): ${error}`);
  }
}

/** Runs `work` with a signal for its end; one that outlives the deadline has hung. */
async function inTime(
  signal: AbortSignal,
  work: (ended: AbortSignal) => Promise<void>,
): Promise<void> {
  const late = new AbortController();
  const hung = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = new WrongAnswerError(`No end within ${DEADLINE_MS} ms`);
    hung.reject(error);
    late.abort(error);
  }, DEADLINE_MS);
  try {
    await Promise.race([work(AbortSignal.any([signal, late.signal])), hung.promise]);
  } finally {
    clearTimeout(timer);
  }
}
