/**
 * What a soak runs against: one relay, and two clusters that each have an agent and a sample target
 * of their own. In the cluster "steady" only the target restarts, so that its agent can be watched
 * for the whole time; in "restless" the agent does.
 */
import { randomToken, startTask } from "../culvert_programs.ts";
import { twoFreePorts } from "../ports.ts";
import { waitUntilAnswers } from "../probe.ts";
import { Subprocess } from "../subprocess.ts";
import { pause } from "../wait.ts";
import type { DisturbanceKind, Disturbances } from "./disturbances.ts";
import type { Random } from "./random.ts";

/** The clusters, by what is done to them. */
export const CLUSTERS = ["steady", "restless"] as const;

/** One of them. */
export type Cluster = typeof CLUSTERS[number];

/** How long a stopped agent lets its requests finish: longer than most of the traffic takes. */
const AGENT_GRACE = "3s";

/** The longest that a restarted program stays away. */
const MAX_ABSENCE_MS = 1_500;

/** What the world reports. */
export interface WorldOptions {
  readonly signal: AbortSignal;
  readonly disturbances: Disturbances;
  /** Told what happens to programs, and what they log as an error. */
  readonly onEvent: (line: string) => void;
}

interface Programs {
  agent: Subprocess;
  target: Subprocess;
}

/** The running programs. Disposing it ends them. */
export class World implements AsyncDisposable {
  readonly #options: WorldOptions;
  readonly #folder: string;
  readonly #tokens: Readonly<Record<Cluster, string>> = {
    steady: randomToken(),
    restless: randomToken(),
  };
  readonly #publicPort: number;
  readonly #internalPort: number;
  readonly #targetPorts: Readonly<Record<Cluster, number>>;
  readonly #programs = new Map<Cluster, Programs>();
  #relay: Subprocess | undefined;

  private constructor(options: WorldOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
    [this.#publicPort, this.#internalPort] = twoFreePorts();
    const [steady, restless] = twoFreePorts();
    this.#targetPorts = { steady, restless };
  }

  /** Starts everything; requests pass when this returns. */
  static async start(options: WorldOptions): Promise<World> {
    const folder = await Deno.makeTempDir({ prefix: "culvert-soak-" });
    const world = new World(options, folder);
    try {
      await world.#start();
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
    return world;
  }

  async #start(): Promise<void> {
    const clusters = CLUSTERS.map((id) => ({
      id,
      token: this.#tokens[id],
      targetAddr: `127.0.0.1:${this.#targetPorts[id]}`,
    }));
    await Deno.writeTextFile(`${this.#folder}/clusters.json`, JSON.stringify(clusters));
    await Deno.writeTextFile(`${this.#folder}/token`, randomToken());
    this.#relay = await startTask("relay", [
      ...["-addr", `127.0.0.1:${this.#publicPort}`],
      ...["-internal-addr", `127.0.0.1:${this.#internalPort}`],
      ...["-clusters", `${this.#folder}/clusters.json`, ...logArgs],
    ], this.#logOf("relay"));
    for (const cluster of CLUSTERS) {
      const target = this.#startTarget(cluster);
      this.#programs.set(cluster, { target, agent: await this.#startAgent(cluster) });
      await this.#untilAnswered(cluster);
    }
  }

  /** Base URL of a cluster's requests, without a slash at the end. */
  baseUrl(cluster: Cluster): string {
    return `http://127.0.0.1:${this.#internalPort}/tunnel/${cluster}`;
  }

  /** The relay's metrics page. */
  get metricsUrl(): string {
    return `http://127.0.0.1:${this.#internalPort}/metrics`;
  }

  /** The processes that live as long as the soak. */
  get watched(): { name: string; pid: number }[] {
    const { relay, steady } = this.#lasting();
    return [{ name: "relay", pid: relay.pid }, { name: "agent", pid: steady.agent.pid }];
  }

  /** Throws the last words of a lasting process that has ended: nothing here asked it to. */
  async throwIfEnded(): Promise<void> {
    const { relay, steady } = this.#lasting();
    await relay.throwIfEnded();
    await steady.agent.throwIfEnded();
  }

  #lasting(): { relay: Subprocess; steady: Programs } {
    const steady = this.#programs.get("steady");
    if (this.#relay === undefined || steady === undefined) throw new Error("World has not started");
    return { relay: this.#relay, steady };
  }

  /**
   * Restarts what the cluster is there for, at random intervals, until `end` is aborted; a restart
   * that has begun is finished.
   */
  async disturb(
    cluster: Cluster,
    meanIntervalMs: number,
    random: Random,
    end: AbortSignal,
  ): Promise<void> {
    const role = cluster === "steady" ? "target" : "agent";
    while (true) {
      const intervalMs = random.integer(meanIntervalMs / 2, meanIntervalMs * 1.5);
      await pause(intervalMs, AbortSignal.any([end, this.#options.signal])).catch(() => undefined);
      this.#options.signal.throwIfAborted();
      if (end.aborted) return;
      const isKill = random.chance(0.5);
      const absenceMs = random.chance(0.5) ? 0 : random.integer(0, MAX_ABSENCE_MS);
      await this.#restart(cluster, role, isKill, absenceMs);
    }
  }

  async #restart(
    cluster: Cluster,
    role: "agent" | "target",
    isKill: boolean,
    absenceMs: number,
  ): Promise<void> {
    const { disturbances, onEvent, signal } = this.#options;
    const kind: DisturbanceKind = `${role} ${isKill ? "killed" : "stopped"}`;
    const programs = this.#programs.get(cluster);
    if (programs === undefined) throw new Error(`Cluster ${cluster} has no programs`);
    await programs[role].throwIfEnded();
    onEvent(`${cluster}: ${kind}, away for ${absenceMs} ms`);
    const end = disturbances.begin(cluster, kind);
    if (isKill) programs[role].signal("SIGKILL");
    const { code } = await programs[role].stop();
    if (role === "agent" && !isKill && code !== 0) {
      throw new Error(`Program ${programs[role].name} ended with exit code ${code} after SIGTERM`);
    }
    await pause(absenceMs, signal);
    programs[role] = role === "agent"
      ? await this.#startAgent(cluster)
      : this.#startTarget(cluster);
    await this.#untilAnswered(cluster);
    end();
  }

  #startTarget(cluster: Cluster): Subprocess {
    const script = new URL("../../../deploy/demo/target.ts", import.meta.url).pathname;
    const port = `${this.#targetPorts[cluster]}`;
    return new Subprocess({
      name: `${cluster} target`,
      command: [Deno.execPath(), "run", "--allow-net", script, "--port", port],
    });
  }

  async #startAgent(cluster: Cluster): Promise<Subprocess> {
    return await startTask("agent", [
      ...["-server", `ws://127.0.0.1:${this.#publicPort}/connect`, "-allow-insecure-server"],
      ...["-token", this.#tokens[cluster], "-sa-token-path", `${this.#folder}/token`],
      ...["-target", `127.0.0.1:${this.#targetPorts[cluster]}`, "-plain-target"],
      ...["-health-addr", "127.0.0.1:0", "-max-retry", "1s", "-grace", AGENT_GRACE, ...logArgs],
    ], this.#logOf(`${cluster} agent`));
  }

  #logOf(name: string): (line: string) => void {
    return (line) => {
      if (!line.includes('"level":"warn"')) this.#options.onEvent(`${name}: ${line}`);
    };
  }

  async #untilAnswered(cluster: Cluster): Promise<void> {
    const { agent, target } = this.#programs.get(cluster) ?? {};
    const processes = [this.#relay, agent, target].filter((process) => process !== undefined);
    await waitUntilAnswers(`${this.baseUrl(cluster)}/healthz`, processes, this.#options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const agents = [...this.#programs.values()].map(({ agent }) => agent);
    const targets = [...this.#programs.values()].map(({ target }) => target);
    for (const process of [...agents, this.#relay, ...targets]) {
      await process?.[Symbol.asyncDispose]();
    }
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Only warnings and errors; as JSON, so that their level can be told. */
const logArgs = ["-log-level", "warn", "-log-format", "json"];
