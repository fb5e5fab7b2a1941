/**
 * What a soak runs against: one relay, and two clusters that each have a sample target and agents of
 * their own. Which of the programs are disturbed, and how, is the {@link Plan}'s.
 */
import { randomToken, startTask } from "../culvert_programs.ts";
import { twoFreePorts } from "../ports.ts";
import { waitUntilAnswers } from "../probe.ts";
import { Subprocess } from "../subprocess.ts";
import { pause } from "../wait.ts";
import type { Action, DisturbanceKind, Disturbances, Role } from "./disturbances.ts";
import type { Random } from "./random.ts";

/** The clusters. */
export const CLUSTERS = ["steady", "restless"] as const;

/** One of them. */
export type Cluster = typeof CLUSTERS[number];

/** A program that may be disturbed: the only one of its role in the cluster, or one of two agents. */
export type Subject = "relay" | `${Cluster} ${"agent" | "second agent" | "target"}`;

/** Programs that are disturbed one after the other, at random. */
export interface Trouble {
  readonly subjects: readonly [Subject, ...Subject[]];
  readonly actions: readonly [Action, ...Action[]];
}

/** What is started, and what happens to it. */
export interface Plan {
  /** Clusters that have two agents. */
  readonly withTwoAgents: readonly Cluster[];
  /** Each goes on beside the others. */
  readonly troubles: readonly Trouble[];
  /** The longest time that a program is frozen. */
  readonly maxFreezeMs: number;
  /** Programs that live as long as the run, so that their memory can be watched. */
  readonly lasting: readonly Subject[];
}

/** How long a stopped program lets its requests finish: longer than most of the traffic takes. */
const GRACE = "3s";

/** The longest that a restarted program stays away. */
const MAX_ABSENCE_MS = 1_500;

/** Frozen programs wake up before anybody can have noticed, or after everybody has. */
const SHORT_FREEZE_MS = 2_000;

/** What the world reports. */
export interface WorldOptions {
  readonly plan: Plan;
  readonly signal: AbortSignal;
  readonly disturbances: Disturbances;
  /** Told what happens to programs, and what they log as an error. */
  readonly onEvent: (line: string) => void;
  /** Told every line that relay and agents log. */
  readonly onLogLine: (line: string) => void;
}

/** A program, and how it is started again. */
interface Member {
  readonly role: Role;
  /** Those that feel it. */
  readonly clusters: readonly Cluster[];
  readonly start: () => Promise<Subprocess>;
  process: Subprocess;
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
  readonly #members = new Map<Subject, Member>();

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
    await this.#add("relay", "relay", CLUSTERS, () => this.#startRelay());
    for (const cluster of CLUSTERS) {
      const startAgent = () => this.#startAgent(cluster);
      await this.#add(`${cluster} target`, "target", [cluster], () => this.#startTarget(cluster));
      await this.#add(`${cluster} agent`, "agent", [cluster], startAgent);
      if (this.#options.plan.withTwoAgents.includes(cluster)) {
        await this.#add(`${cluster} second agent`, "agent", [cluster], startAgent);
      }
      await this.#untilAnswered(cluster);
    }
  }

  async #add(
    subject: Subject,
    role: Role,
    clusters: readonly Cluster[],
    start: () => Promise<Subprocess>,
  ): Promise<void> {
    this.#members.set(subject, { role, clusters, start, process: await start() });
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
    return this.#options.plan.lasting.map((subject) => {
      const { role, process } = this.#member(subject);
      return { name: role, pid: process.pid };
    });
  }

  /** Throws the last words of a lasting process that has ended: nothing here asked it to. */
  async throwIfEnded(): Promise<void> {
    for (const subject of this.#options.plan.lasting) {
      await this.#member(subject).process.throwIfEnded();
    }
  }

  #member(subject: Subject): Member {
    const member = this.#members.get(subject);
    if (member === undefined) throw new Error(`No program is the ${subject}`);
    return member;
  }

  /**
   * Disturbs programs at random intervals until `end` is aborted; what has begun is finished, and
   * requests pass when this returns.
   */
  async disturb(
    { subjects, actions }: Trouble,
    meanIntervalMs: number,
    random: Random,
    end: AbortSignal,
  ): Promise<void> {
    while (true) {
      const intervalMs = random.integer(meanIntervalMs / 2, meanIntervalMs * 1.5);
      await pause(intervalMs, AbortSignal.any([end, this.#options.signal])).catch(() => undefined);
      this.#options.signal.throwIfAborted();
      if (end.aborted) return;
      await this.#disturbOne(random.pick(subjects), random.pick(actions), random);
    }
  }

  async #disturbOne(subject: Subject, action: Action, random: Random): Promise<void> {
    const { disturbances, onEvent, plan, signal } = this.#options;
    const member = this.#member(subject);
    const kind: DisturbanceKind = `${member.role} ${action}`;
    await member.process.throwIfEnded();
    const longest = action === "frozen" ? plan.maxFreezeMs : MAX_ABSENCE_MS;
    const forMs = random.chance(0.5)
      ? random.integer(0, Math.min(longest, SHORT_FREEZE_MS))
      : random.integer(longest / 2, longest);
    onEvent(`${subject} ${action} for ${forMs} ms`);
    const end = disturbances.begin(member.clusters, kind);
    if (action === "frozen") await freeze(member.process, forMs, signal);
    else await this.#restart(member, action, forMs);
    const backMs = performance.now();
    await Promise.all(member.clusters.map((cluster) => this.#untilAnswered(cluster)));
    disturbances.recovered(performance.now() - backMs);
    end();
  }

  async #restart(member: Member, action: Action, absenceMs: number): Promise<void> {
    const isKill = action === "killed";
    if (isKill) member.process.signal("SIGKILL");
    const { code } = await member.process.stop();
    if (member.role !== "target" && !isKill && code !== 0) {
      const { name } = member.process;
      throw new Error(`Program ${name} ended with exit code ${code} after SIGTERM`);
    }
    await pause(absenceMs, this.#options.signal);
    member.process = await member.start();
  }

  async #startRelay(): Promise<Subprocess> {
    return await startTask("relay", [
      ...["-addr", `127.0.0.1:${this.#publicPort}`],
      ...["-internal-addr", `127.0.0.1:${this.#internalPort}`],
      ...["-clusters", `${this.#folder}/clusters.json`, "-grace", GRACE, ...logArgs],
    ], { onStderrLine: this.#logOf("relay") });
  }

  // deno-lint-ignore require-await -- The others are asynchronous.
  async #startTarget(cluster: Cluster): Promise<Subprocess> {
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
      ...["-health-addr", "127.0.0.1:0", "-max-retry", "1s", "-grace", GRACE, ...logArgs],
    ], { onStderrLine: this.#logOf(`${cluster} agent`) });
  }

  #logOf(name: string): (line: string) => void {
    return (line) => {
      this.#options.onLogLine(`${name}: ${line}`);
      if (!/"level":"(info|warn)"/.test(line)) this.#options.onEvent(`${name}: ${line}`);
    };
  }

  async #untilAnswered(cluster: Cluster): Promise<void> {
    const members = [...this.#members.values()].filter(({ clusters }) =>
      clusters.includes(cluster)
    );
    const processes = members.map(({ process }) => process);
    await waitUntilAnswers(`${this.baseUrl(cluster)}/healthz`, processes, this.#options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const order: readonly Role[] = ["agent", "relay", "target"];
    const members = [...this.#members.values()];
    for (const role of order) {
      const processes = members.filter((member) => member.role === role);
      await Promise.all(processes.map(({ process }) => process[Symbol.asyncDispose]()));
    }
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Stops a process where it stands, and lets it go on. */
async function freeze(process: Subprocess, forMs: number, signal: AbortSignal): Promise<void> {
  process.signal("SIGSTOP");
  try {
    await pause(forMs, signal);
  } finally {
    process.signal("SIGCONT");
  }
}

/** As a user has it; as JSON, so that the level can be told. */
const logArgs = ["-log-level", "info", "-log-format", "json"];
