/** Delivers route tables to agents: makes kubelet update their mount, and probes what they serve. */
import type { KubeClient } from "../../kube/client.ts";
import type { KubeObject } from "../../kube/objects.ts";
import type { Digest } from "../digest.ts";
import type { ReadableTunnel } from "../tunnel.ts";
import { annotatePods } from "./annotate_pods.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import { targetsText, type TunnelTable } from "../routes/route_table.ts";

/** Asks an agent what it serves; undefined if it can't be asked. */
export type ProbeTargets = (address: string, port: number) => Promise<ServedTable | undefined>;

/** What an agent says of its table. */
export interface ServedTable {
  readonly hash: string;
  /** A newer one that it could not take, and why. */
  readonly refused?: { readonly hash: string; readonly reason: string };
}

/** What a delivery works with. */
export interface RouteDeliveryOptions {
  readonly client: KubeClient;
  readonly digest: Digest;
  readonly probe: ProbeTargets;
  /** The agents of a tunnel have taken a table: bindings may say so. */
  readonly served: (tunnelKey: string) => void;
  /** Milliseconds after which agents that do not serve a table are reported. */
  readonly takeMs?: number;
}

/** On agents' pods: changes with the routes, so that kubelet renews their mount at once. */
const routesAnnotation = "culvert.dev/routes";

const defaultTakeMs = 60_000;

/** A table on its way to the agents. */
export interface Delivery {
  readonly hash: string;
  readonly sinceMs: number;
  verdict: Verdict;
  /** The agents serve this table. */
  isServed: boolean;
}

/** Delivers the tables of all tunnels. */
export class RouteDelivery {
  readonly #options: RouteDeliveryOptions;
  readonly #deliveries = new Map<string, Delivery>();
  /** By tunnel: what its agents serve, as {@link targetsText} has each target. */
  readonly #served = new Map<string, ReadonlySet<string>>();

  constructor(options: RouteDeliveryOptions) {
    this.#options = options;
  }

  /** Whether all agents of a tunnel serve a target as it is. */
  serves(tunnelKey: string, target: unknown): boolean {
    return this.#served.get(tunnelKey)?.has(JSON.stringify(target)) ?? false;
  }

  /** The tunnel is gone from the cluster. */
  forget(tunnelKey: string): void {
    this.#deliveries.delete(tunnelKey);
    this.#served.delete(tunnelKey);
  }

  /**
   * Speeds up the delivery of the table to the agents, and asks them whether they serve it.
   *
   * @param agents Their pods.
   * @param isElsewhere All agents are in users' pods, where kubelet renews the table by itself.
   */
  async deliver(
    tunnel: ReadableTunnel,
    agents: readonly KubeObject[],
    { table, isElsewhere }: { table: TunnelTable; isElsewhere: boolean },
  ): Promise<Delivery> {
    const hash = this.#options.digest(targetsText(table));
    const delivery = this.#deliveryOf(tunnel.key, hash);
    const { healthPort } = tunnel.spec.agent;
    const ready = agents.filter(({ isReady }) => isReady);
    const { takeMs = defaultTakeMs } = this.#options;
    const ageMs = performance.now() - delivery.sinceMs;
    if (isElsewhere) {
      const message = "Agents in other pods have had time to take the routes, and can't be asked";
      if (ageMs > takeMs) this.#markServed(tunnel.key, delivery, table, yes("Unverified", message));
      return delivery;
    }
    if (ready.length === 0) {
      delivery.isServed = false;
      return delivery;
    }
    const answers = await this.#probeAll(ready, healthPort);
    const late = ready.filter((_pod, index) => answers[index]?.hash !== hash);
    if (late.length === 0) {
      this.#markServed(tunnel.key, delivery, table, yes("Programmed"));
      return delivery;
    }
    await annotatePods(this.#options.client, late, routesAnnotation, hash);
    const isAnswered = answers.some((it) => it !== undefined);
    // Nobody can be asked; the annotation has told kubelet, which has had its time.
    if (!isAnswered && (healthPort === 0 || ageMs > takeMs / 2)) {
      const message = "The agents' health listeners can't be asked whether they have the routes";
      this.#markServed(tunnel.key, delivery, table, yes("Unverified", message));
    } else if (!delivery.isServed) {
      const count = `${late.length} of ${ready.length} agents`;
      const refused = answers.find((it) => it?.refused?.hash === hash)?.refused;
      delivery.verdict = lateVerdict(count, refused?.reason, ageMs > takeMs);
    }
    return delivery;
  }

  async #probeAll(
    pods: readonly KubeObject[],
    healthPort: number,
  ): Promise<readonly (ServedTable | undefined)[]> {
    return await Promise.all(pods.map(async (pod) => {
      const { podIP } = pod as { podIP?: string };
      if (healthPort === 0 || podIP === undefined) return undefined;
      return await this.#options.probe(podIP, healthPort);
    }));
  }

  #deliveryOf(tunnelKey: string, hash: string): Delivery {
    const known = this.#deliveries.get(tunnelKey);
    if (known?.hash === hash) return known;
    const delivery: Delivery = {
      hash,
      sinceMs: performance.now(),
      verdict: unknown("Programming", "The agents are about to take the routes"),
      isServed: false,
    };
    this.#deliveries.set(tunnelKey, delivery);
    return delivery;
  }

  #markServed(tunnelKey: string, delivery: Delivery, table: TunnelTable, verdict: Verdict): void {
    const wasServed = delivery.isServed;
    delivery.isServed = true;
    delivery.verdict = verdict;
    if (wasServed) return;
    const targets = table.targets.map((target) => JSON.stringify(target));
    this.#served.set(tunnelKey, new Set(targets));
    this.#options.served(tunnelKey);
  }
}

/** The verdict on agents that do not serve the newest table. @param count How many of them, for people. */
function lateVerdict(count: string, refusal: string | undefined, isOverdue: boolean): Verdict {
  if (refusal !== undefined) {
    return no("NotTaken", `${count} still serve the previous routes: ${refusal}`);
  }
  return isOverdue
    ? no("NotTaken", `${count} still serve other routes; see their logs`)
    : unknown("Programming", `${count} are about to take the routes`);
}
