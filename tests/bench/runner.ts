/** Takes measurements on each way in turn, and keeps the ways up meanwhile. */
import type { Bench, Figures, Measurement } from "./measurement.ts";
import type { Results } from "./results.ts";
import type { Route, RouteContext, RouteName, StartRoute } from "./route.ts";

/** A way that takes part. */
export interface Contender {
  readonly name: RouteName;
  readonly start: StartRoute;
  /** Rounds that it takes part in. */
  readonly rounds: number;
}

/** What a run is made of. */
export interface RunParts {
  readonly bench: Bench;
  readonly context: RouteContext;
  readonly contenders: readonly Contender[];
  readonly measurements: readonly Measurement[];
  readonly rounds: number;
  readonly results: Results;
  /** Told what is about to happen. */
  readonly onProgress: (line: string) => void;
}

/**
 * Takes every measurement, `rounds` times, on each way in turn; who begins changes with each round.
 * What fails is kept with its reason; only an aborted signal ends the run.
 */
export async function takeMeasurements(parts: RunParts): Promise<void> {
  const { measurements, rounds, contenders, bench } = parts;
  await using routes = new StandingRoutes(parts.context);
  for (const [index, measurement] of measurements.entries()) {
    // What rests until memory has settled varies less than it takes.
    const least = measurement.needsFreshRoute ? 1 : rounds;
    for (let round = 0; round < least; round++) {
      for (const contender of rotated(contenders.filter((one) => round < one.rounds), round)) {
        bench.signal.throwIfAborted();
        const of = rounds === 1 ? "" : `, round ${round + 1} of ${rounds}`;
        const at = `${index + 1}/${measurements.length}`;
        parts.onProgress(`${at} ${measurement.id} · ${contender.name}${of}`);
        await takeOne(measurement, contender, routes, parts);
      }
    }
  }
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const start = by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

async function takeOne(
  measurement: Measurement,
  contender: Contender,
  routes: StandingRoutes,
  { bench, results, onProgress }: RunParts,
): Promise<void> {
  try {
    const figures = await measureOn(measurement, contender, routes, bench);
    results.addFigures(measurement, contender.name, figures);
  } catch (error) {
    bench.signal.throwIfAborted();
    const reason = error instanceof Error ? error.message : String(error);
    onProgress(`failed: ${reason}`);
    results.addFailure(measurement, contender.name, reason);
  }
}

async function measureOn(
  measurement: Measurement,
  contender: Contender,
  routes: StandingRoutes,
  bench: Bench,
): Promise<Figures> {
  if (!measurement.needsFreshRoute) {
    return await measureAlive(measurement, await routes.get(contender), bench);
  }
  await using route = await routes.startFresh(contender);
  return await measureAlive(measurement, route, bench);
}

/** A process that died explains a failure better than the connections that broke with it. */
async function measureAlive(
  measurement: Measurement,
  route: Route,
  bench: Bench,
): Promise<Figures> {
  try {
    return await measurement.run(route, bench);
  } finally {
    await route.throwIfEnded();
  }
}

/** The ways that have been started, each once; one whose process died is started again. */
class StandingRoutes implements AsyncDisposable {
  readonly #context: RouteContext;
  readonly #routes = new Map<RouteName, Route>();

  constructor(context: RouteContext) {
    this.#context = context;
  }

  async get(contender: Contender): Promise<Route> {
    const standing = this.#routes.get(contender.name);
    if (standing !== undefined) {
      if (await isAlive(standing)) return standing;
      this.#routes.delete(contender.name);
      await standing[Symbol.asyncDispose]();
    }
    const route = await contender.start(this.#context);
    this.#routes.set(contender.name, route);
    return route;
  }

  async startFresh(contender: Contender): Promise<Route> {
    return await contender.start(this.#context);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const route of this.#routes.values()) await route[Symbol.asyncDispose]();
  }
}

async function isAlive(route: Route): Promise<boolean> {
  try {
    await route.throwIfEnded();
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}
