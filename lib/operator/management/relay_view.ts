/**
 * What the relay has: entries that were registered through its admin API, and agents. When its watch
 * reports a change, the lists are read again.
 */
import { delay } from "../../kube/delay.ts";
import type { Log } from "../../log.ts";
import {
  type RelayAccess,
  RelayApi,
  type RelayFetch,
  RelayRefusal,
  RelayUnreachable,
} from "../relay/relay_api.ts";
import { type RelayChange, RelayWatches } from "../relay/relay_watches.ts";

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
  /** Sends the requests of watches. */
  readonly fetch: RelayFetch;
  /** How often the lists are read where the watch does not report everything. */
  readonly pollMs: number;
  /** They are read again after this time, even if the watch has reported nothing. */
  readonly resyncMs: number;
  readonly log: Log;
  readonly firstBackoffMs?: number | undefined;
}

/** The shortest pause between two reads of the lists. */
const minPauseMs = 100;
/** The pause after reading the lists, as a multiple of the time that reading took. */
const restFactor = 10;

/** Follows the relay, while {@link run} runs. */
export class RelayView {
  readonly #options: RelayViewOptions;
  #clusters = new Map<string, RelayCluster>();
  #agents = new Map<string, readonly RelayAgent[]>();
  #policies = new Set<string>();
  readonly #goneSinceMs = new Map<string, number>();
  /** Ids that were deleted at the relay, and when: a response under way may still have them. */
  readonly #droppedMs = new Map<string, number>();
  #fault: string | undefined = "the relay has not been asked yet";
  #isInTrouble = false;
  #hasAnswered = false;
  /** Relays that share their agents. */
  #relays: number | undefined;
  /** Until when the relay may take to read an entry, by the entry's id. */
  readonly #expectedUntilMs = new Map<string, number>();
  #isWanted = false;
  readonly #asked = Promise.withResolvers<void>();
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

  /** Resolves when the relay has answered, or could not be asked, for the first time. */
  get asked(): Promise<void> {
    return this.#asked.promise;
  }

  /** Whether the relay has answered at all; the view may be outdated. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  hasPolicy(name: string): boolean {
    return this.#policies.has(name);
  }

  /** How long a known id has been missing, in milliseconds; undefined for one that is present. */
  missingMs(id: string): number | undefined {
    const sinceMs = this.#goneSinceMs.get(id);
    return sinceMs === undefined ? undefined : performance.now() - sinceMs;
  }

  /** Starts counting how long an id is missing that this process has never seen. */
  miss(id: string): void {
    if (this.#clusters.has(id) || this.#goneSinceMs.has(id)) return;
    this.#goneSinceMs.set(id, performance.now());
  }

  forget(id: string): void {
    this.#goneSinceMs.delete(id);
  }

  /** An entry was deleted at the relay, or is given up. */
  drop(id: string): void {
    this.#clusters.delete(id);
    this.#droppedMs.set(id, performance.now());
    this.refresh();
  }

  /** An entry has been written for the relay to read. No watch reports that, so the lists are polled. */
  expect(id: string, untilMs: number): void {
    this.#expectedUntilMs.set(id, untilMs);
    this.refresh();
  }

  /** Reads the lists soon. */
  refresh(): void {
    this.#isWanted = true;
    this.#wake?.();
  }

  /** Follows until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { fetch, log, firstBackoffMs, pollMs } = this.#options;
    const watches = new RelayWatches({
      fetch,
      changed: ({ kind }: RelayChange) => kind === "services" || this.refresh(),
      // The lists show whether the relay can be reached.
      ended: () => this.refresh(),
      ...{ log, firstBackoffMs },
    });
    while (!signal.aborted) {
      this.#isWanted = false;
      const beganMs = performance.now();
      const waitMs = await this.#ask();
      this.#asked.resolve();
      const { access } = this;
      watches.follow(access && this.#fault === undefined ? [access] : []);
      // Changes in quick succession are read together, because long lists take time.
      const tookMs = performance.now() - beganMs;
      const pauseMs = Math.min(waitMs, pollMs, Math.max(minPauseMs, restFactor * tookMs));
      await delay(pauseMs, signal);
      await this.#untilWanted(waitMs - pauseMs, signal);
    }
    await watches.stop();
  }

  async #untilWanted(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#isWanted || ms <= 0) return;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await delay(ms, AbortSignal.any([signal, woken.signal]));
    this.#wake = undefined;
  }

  /** How long the lists stay valid if no change is reported. */
  get #restMs(): number {
    const { pollMs, resyncMs } = this.#options;
    const nowMs = performance.now();
    for (const [id, untilMs] of this.#expectedUntilMs) {
      const isOver = untilMs <= nowMs || this.#clusters.get(id)?.isConfigured;
      if (isOver) this.#expectedUntilMs.delete(id);
    }
    // A watch does not report the agents of other relays.
    return this.#relays === 1 && this.#expectedUntilMs.size === 0 ? resyncMs : pollMs;
  }

  /** @returns when to ask again */
  async #ask(): Promise<number> {
    const { relays, access, pollMs, log } = this.#options;
    const known = access();
    if (!known) return pollMs;
    const beganMs = performance.now();
    try {
      // A relay that has not answered is tried with one request.
      const clusters = await relays.list(known, "clusters");
      const [agents, policies] = await Promise.all([
        relays.agents(known),
        relays.list(known, "policies"),
      ]);
      this.#takePolicies(policies.map(({ name }) => String(name)));
      this.#hasAnswered = true;
      const isCurrent = ({ id }: RelayCluster) => (this.#droppedMs.get(id) ?? 0) < beganMs;
      this.#relays = agents.relays;
      this.#take(clusters.map(clusterOf).filter(isCurrent), agents.items);
      for (const [id, atMs] of this.#droppedMs) {
        if (atMs < beganMs) this.#droppedMs.delete(id);
      }
      if (this.#isInTrouble) log.info("The relay's admin API answers again");
      this.#isInTrouble = false;
      return this.#restMs;
    } catch (error) {
      if (!(error instanceof RelayUnreachable) && !(error instanceof RelayRefusal)) throw error;
      const wasUp = this.#fault === undefined;
      this.#fault = `At ${known.endpoint}: ${error.message}`;
      if (!this.#isInTrouble) {
        log.warn("Can't reach the relay's admin API", { error: this.#fault });
      }
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
