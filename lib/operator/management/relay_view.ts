/** What the relay has: entries that were registered through its admin API, and agents. */
import { delay } from "../../kube/delay.ts";
import type { Log } from "../../log.ts";
import { type RelayAccess, RelayApi, RelayRefusal, RelayUnreachable } from "../relay_api.ts";

/** A cluster at the relay. */
export interface RelayCluster {
  readonly id: string;
  /** Whether a file has it; else it was added through the admin API. */
  readonly isConfigured: boolean;
  /** The name of the token that added it. */
  readonly registeredBy: string | undefined;
  readonly owner: string | undefined;
  readonly isAccepted: boolean;
  readonly targetAddr: string | undefined;
}

/** An agent's session at the relay. */
export interface RelayAgent {
  readonly name: string;
  readonly version: string | undefined;
  readonly since: string | undefined;
}

/** What a view runs with. */
export interface RelayViewOptions {
  readonly relays: RelayApi;
  /** Undefined while there is no token yet. */
  readonly access: () => RelayAccess | undefined;
  /** Called with the ids of which something has changed; with none when the relay is up or away. */
  readonly changed: (ids?: ReadonlySet<string>) => void;
  readonly policiesChanged: () => void;
  readonly pollMs: number;
  readonly log: Log;
}

/** Asks the relay now and then, while {@link run} runs. */
export class RelayView {
  readonly #options: RelayViewOptions;
  #clusters = new Map<string, RelayCluster>();
  #agents = new Map<string, readonly RelayAgent[]>();
  #policies = new Set<string>();
  readonly #goneSinceMs = new Map<string, number>();
  /** Ids that were taken off the relay, and when: an answer that is on its way may still have them. */
  readonly #droppedMs = new Map<string, number>();
  #fault: string | undefined = "the relay has not been asked yet";
  #isInTrouble = false;
  #hasAnswered = false;
  #wake: (() => void) | undefined;

  constructor(options: RelayViewOptions) {
    this.#options = options;
  }

  /** Why the view may be old; undefined while the relay answers. */
  get fault(): string | undefined {
    return this.#fault;
  }

  get access(): RelayAccess | undefined {
    return this.#options.access();
  }

  get clusters(): ReadonlyMap<string, RelayCluster> {
    return this.#clusters;
  }

  agents(id: string): readonly RelayAgent[] {
    return this.#agents.get(id) ?? [];
  }

  /** Whether there is something to go by, old as it may be. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  hasPolicy(name: string): boolean {
    return this.#policies.has(name);
  }

  /** For how long an id that was there has been missing; undefined for one that is there. */
  missingMs(id: string): number | undefined {
    const sinceMs = this.#goneSinceMs.get(id);
    return sinceMs === undefined ? undefined : performance.now() - sinceMs;
  }

  /** Counts the time for which an id is missing that this process has never seen. */
  miss(id: string): void {
    if (this.#clusters.has(id) || this.#goneSinceMs.has(id)) return;
    this.#goneSinceMs.set(id, performance.now());
  }

  forget(id: string): void {
    this.#goneSinceMs.delete(id);
  }

  /** An entry was taken off the relay, or is given up. */
  drop(id: string): void {
    this.#clusters.delete(id);
    this.#droppedMs.set(id, performance.now());
    this.refresh();
  }

  /** Has the relay asked now. */
  refresh(): void {
    this.#wake?.();
  }

  /** Asks until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const waitMs = await this.#ask();
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      await delay(waitMs, AbortSignal.any([signal, woken.signal]));
    }
  }

  /** @returns when to ask again */
  async #ask(): Promise<number> {
    const { relays, access, pollMs, log } = this.#options;
    const known = access();
    if (!known) return pollMs;
    const beganMs = performance.now();
    try {
      const [clusters, agents, policies] = await Promise.all([
        relays.list(known, "clusters"),
        relays.list(known, "agents"),
        relays.list(known, "policies"),
      ]);
      this.#takePolicies(policies.map(({ name }) => String(name)));
      this.#hasAnswered = true;
      const isCurrent = ({ id }: RelayCluster) => (this.#droppedMs.get(id) ?? 0) < beganMs;
      this.#take(clusters.map(clusterOf).filter(isCurrent), agents);
      for (const [id, atMs] of this.#droppedMs) {
        if (atMs < beganMs) this.#droppedMs.delete(id);
      }
      if (this.#isInTrouble) log.info("The relay's admin API answers again");
      this.#isInTrouble = false;
      return pollMs;
    } catch (error) {
      if (!(error instanceof RelayUnreachable) && !(error instanceof RelayRefusal)) throw error;
      const wasUp = this.#fault === undefined;
      this.#fault = `At ${known.endpoint}: ${error.message}`;
      if (!this.#isInTrouble) log.warn("Can't ask the relay's admin API", { reason: this.#fault });
      this.#isInTrouble = true;
      if (wasUp) this.#options.changed();
      return error instanceof RelayUnreachable ? Math.max(pollMs, error.retryAfterMs) : pollMs;
    }
  }

  #takePolicies(names: readonly string[]): void {
    const before = [...this.#policies].sort().join();
    this.#policies = new Set(names);
    if ([...this.#policies].sort().join() !== before) this.#options.policiesChanged();
  }

  #take(
    clusters: readonly RelayCluster[],
    agents: readonly Readonly<Record<string, unknown>>[],
  ): void {
    const before = { clusters: this.#clusters, agents: this.#agents, wasUp: !this.#fault };
    this.#clusters = new Map(clusters.map((cluster) => [cluster.id, cluster]));
    this.#agents = byCluster(agents);
    this.#fault = undefined;
    const ids = new Set([
      ...[...before.clusters.keys(), ...this.#clusters.keys()],
      ...[...before.agents.keys(), ...this.#agents.keys()],
    ]);
    for (const id of ids) {
      if (this.#clusters.has(id)) this.#goneSinceMs.delete(id);
      else this.miss(id);
    }
    const changed = [...ids].filter((id) =>
      JSON.stringify([before.clusters.get(id), before.agents.get(id)]) !==
        JSON.stringify([this.#clusters.get(id), this.#agents.get(id)])
    );
    if (!before.wasUp) this.#options.changed();
    else if (changed.length > 0) this.#options.changed(new Set(changed));
  }
}

function clusterOf(entry: Readonly<Record<string, unknown>>): RelayCluster {
  const text = (key: string) => typeof entry[key] === "string" ? entry[key] : undefined;
  return {
    id: String(entry["id"]),
    isConfigured: entry["source"] === "configuration",
    registeredBy: text("registeredBy"),
    owner: text("owner"),
    isAccepted: entry["accepted"] !== false,
    targetAddr: text("targetAddr"),
  };
}

/** One line for each agent, however many connections it has. */
function byCluster(
  sessions: readonly Readonly<Record<string, unknown>>[],
): Map<string, readonly RelayAgent[]> {
  const found = new Map<string, Map<string, RelayAgent>>();
  for (const { cluster, instance, id, software, since } of sessions) {
    const agents = found.get(String(cluster)) ?? new Map<string, RelayAgent>();
    found.set(String(cluster), agents);
    const name = String(instance ?? id);
    const first = agents.get(name)?.since;
    agents.set(name, {
      name,
      version: software === undefined ? undefined : String(software),
      since: first !== undefined && first < String(since) ? first : String(since),
    });
  }
  return new Map([...found].map(([id, agents]) => [
    id,
    [...agents.values()].sort((a, b) => a.name < b.name ? -1 : 1),
  ]));
}
