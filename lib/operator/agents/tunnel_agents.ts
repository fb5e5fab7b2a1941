/** A tunnel's agents: their Deployment, their routes, and what they say of both. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import {
  configMaps,
  deployments,
  networkPolicies,
  podDisruptionBudgets,
} from "../../kube/resources.ts";
import { availability, connection, isRolledOut, statusOf } from "./agent_availability.ts";
import { metadataOf, namesOf, podLabels, selectorOf } from "./agent_metadata.ts";
import { AgentSessions, type Connection } from "./agent_sessions.ts";
import { agentDeployment, disruptionBudget } from "./agent_objects.ts";
import { AgentCredentials } from "./agent_credentials.ts";
import type { AgentToken } from "./agent_tokens.ts";
import { annotatePods } from "./annotate_pods.ts";
import type { TunnelStatus } from "../api/tunnel.ts";
import type { Proxy } from "../../config/proxy.ts";
import { unknown, type Verdict } from "../conditions.ts";
import type { Context } from "../context.ts";
import { networkPolicy } from "./network_policy.ts";
import { ensureOptional, ensureOwned, isOwnedBy } from "./owned_objects.ts";
import { ReferenceFault } from "../relay/references.ts";
import { type ProbeTargets, RouteDelivery } from "./route_delivery.ts";
import { withHeld } from "../routes/held_routes.ts";
import { emptyTable, targetsText, type TunnelTable } from "../routes/route_table.ts";
import type { ReadableTunnel, Tunnel } from "../tunnel.ts";

/** How often agents are probed while they do not serve the newest table. */
const probeMs = 1_000;

/** On agents' pods: changes with the token, so that kubelet renews its mount at once. */
const tokenAnnotation = "culvert.dev/token";

/** What agents are made with. */
export interface TunnelAgentsOptions {
  readonly context: Context;
  /** What an agent serves; undefined if it can't be asked. */
  readonly probe: ProbeTargets;
  /** The agents of a tunnel have taken a table: bindings may say so. */
  readonly served: (tunnelKey: string) => void;
}

/** What is known of a tunnel's agents. */
export interface AgentsState {
  readonly verdicts: Readonly<Record<string, Verdict>>;
  readonly status: TunnelStatus;
  /** Whether all pods are as the spec says, and ready. */
  readonly isRolledOut: boolean;
  /** When they are to be looked at again, in milliseconds. */
  readonly againMs: number;
}

/** Makes and follows the agents of all tunnels. */
export class TunnelAgents {
  readonly #context: Context;
  readonly #delivery: RouteDelivery;
  readonly #credentials: AgentCredentials;
  readonly #sessions: AgentSessions;

  constructor({ context, probe, served }: TunnelAgentsOptions) {
    this.#context = context;
    const { client, digest } = context;
    this.#credentials = new AgentCredentials(context);
    this.#sessions = new AgentSessions(context);
    const { takeMs } = context.settings;
    this.#delivery = new RouteDelivery({
      ...{ client, digest, probe, served },
      ...takeMs !== undefined && { takeMs },
    });
  }

  /** Whether all agents of a tunnel serve a target as it is. */
  serves(tunnelKey: string, target: unknown): boolean {
    return this.#delivery.serves(tunnelKey, target);
  }

  /** Agents of a tunnel have come to the relay, or gone. */
  changed(tunnelKey: string): void {
    this.#sessions.changed(tunnelKey);
  }

  /** The tunnel is gone from the cluster. */
  forget(tunnelKey: string): void {
    this.#context.lastMade.forget(tunnelKey);
    this.#sessions.forget(tunnelKey);
    this.#delivery.forget(tunnelKey);
    this.#credentials.forget(tunnelKey);
  }

  /** What the agents are to serve. */
  async table(tunnel: Tunnel): Promise<TunnelTable> {
    const { client, caches, routes, lastMade } = this.#context;
    const table = routes().tunnels.get(tunnel.key) ?? emptyTable;
    if (table.held.size === 0) return table;
    const at = { namespace: tunnel.home, name: namesOf(tunnel).routes };
    // The cache lacks a ConfigMap whose label somebody has removed.
    const there = lastMade.find(tunnel, at.name) ?? caches.get("configMaps", keyOf(at)) ??
      await client.find(configMaps, at);
    return withHeld(table, there && isOwnedBy(there, tunnel) ? there : undefined);
  }

  /** Whether there is a Deployment already. */
  isThere(tunnel: Tunnel): boolean {
    return this.#deploymentOf(tunnel) !== undefined;
  }

  /** What the scale subresource and the printed columns need. */
  status(tunnel: Tunnel): TunnelStatus {
    const { replicas = 0 } = statusOf(this.#deploymentOf(tunnel));
    const { connectedAgents = 0 } = tunnel.status;
    return { replicas, connectedAgents, selector: selectorOf(tunnel) };
  }

  /**
   * Makes the agents and their routes what the spec says.
   *
   * @param id The tunnel's id at the relay.
   */
  async ensure(tunnel: ReadableTunnel, id: string, token: AgentToken): Promise<AgentsState> {
    const table = await this.table(tunnel);
    const { agent } = tunnel.spec;
    const { settings, digest } = this.#context;
    const { deployment, fault } = await this.#make(tunnel, table);
    const pods = this.#podsOf(tunnel);
    await this.#hurryToken(pods, token);
    await this.#credentials.hurry(tunnel, pods);
    const { readyReplicas = 0 } = statusOf(deployment);
    const found = await this.#connection(tunnel, id, readyReplicas);
    const connected = found ? found.agents ?? tunnel.status.connectedAgents : undefined;
    const available = availability(deployment, tunnel, agent.replicas, connected);
    // Those in users' pods can't be asked what they serve.
    const isElsewhere = agent.replicas === 0 && available.status === "True";
    const isServing = readyReplicas > 0 || isElsewhere;
    const delivery = await this.#delivery.deliver(tunnel, pods, { table, isElsewhere });
    const againMs = isServing && !delivery.isServed ? probeMs : settings.checkMs;
    return {
      verdicts: {
        AgentAvailable: fault ?? available,
        Connected: connection(found, available),
        RoutesProgrammed: isServing
          ? delivery.verdict
          : unknown("WaitingForAgents", "No agent is connected"),
      },
      status: {
        ...this.status(tunnel),
        connectedAgents: found ? connected ?? 0 : readyReplicas,
        routes: table.targets.filter((target) => "address" in target).length,
        routesHash: digest(targetsText(table)),
      },
      isRolledOut: isRolledOut(deployment),
      againMs: Math.min(againMs, found?.againMs ?? Infinity),
    };
  }

  /** Makes all objects of the agents. */
  async #make(
    tunnel: ReadableTunnel,
    table: TunnelTable,
  ): Promise<{ readonly deployment: KubeObject; readonly fault: Verdict | undefined }> {
    const context = this.#context;
    const { proxy, fault } = await this.#mounted(tunnel);
    // The NetworkPolicy allows new routes before agents get them.
    if (!fault) {
      const policy = networkPolicy(tunnel, table, proxy);
      await ensureOptional(context, networkPolicies, "networkPolicies", tunnel, policy);
    }
    // What the table names is there before it.
    await this.#credentials.ensure(tunnel, table);
    const routes = routesConfigMap(tunnel, table);
    const made = await ensureOwned(context, configMaps, "configMaps", tunnel, routes);
    context.lastMade.keep(tunnel, made);
    const image = tunnel.spec.agent.image ?? context.settings.agentImage;
    const wanted = agentDeployment(tunnel, { image });
    const deployment = await ensureOwned(context, deployments, "deployments", tunnel, wanted);
    const budget = disruptionBudget(tunnel);
    await ensureOptional(context, podDisruptionBudgets, "budgets", tunnel, budget);
    return { deployment, fault };
  }

  /** What the relay says of the agents; undefined where it can't be asked. */
  async #connection(
    tunnel: ReadableTunnel,
    id: string,
    ready: number,
  ): Promise<Connection | undefined> {
    if (!tunnel.spec.relay.registration.api) return undefined;
    return await this.#sessions.look(tunnel, id, ready);
  }

  /** What pods refer to. New pods need it to start; running pods continue. */
  async #mounted(
    { home, spec: { relay: { caRef, clientCertRef, proxyRef } } }: ReadableTunnel,
  ): Promise<{ readonly proxy?: Proxy | undefined; readonly fault?: Verdict }> {
    const { references } = this.#context.accesses;
    try {
      if (caRef) await references.ca(home, caRef);
      if (clientCertRef) await references.clientCert(home, clientCertRef);
      return proxyRef ? { proxy: await references.proxy(home, proxyRef) } : {};
    } catch (error) {
      if (error instanceof ReferenceFault) return { fault: error.verdict };
      throw error;
    }
  }

  /** By itself, kubelet takes a minute to read Secrets again. */
  async #hurryToken(pods: readonly KubeObject[], token: AgentToken): Promise<void> {
    if (token.digests.length <= 1) return;
    const print = token.digest.slice(0, 16);
    await annotatePods(this.#context.client, pods, tokenAnnotation, print);
  }

  #podsOf(tunnel: Tunnel): readonly KubeObject[] {
    const selector = Object.entries(podLabels(tunnel));
    return [...this.#context.caches.values("pods")].filter(({ metadata }) =>
      metadata.namespace === tunnel.home && metadata.deletionTimestamp === undefined &&
      selector.every(([label, value]) => metadata.labels?.[label] === value)
    );
  }

  #deploymentOf(tunnel: Tunnel): KubeObject | undefined {
    const key = `${tunnel.home}/${namesOf(tunnel).agent}`;
    const deployment = this.#context.caches.get("deployments", key);
    return deployment && isOwnedBy(deployment, tunnel) ? deployment : undefined;
  }
}

/** The targets file and its CAs. */
function routesConfigMap(tunnel: Tunnel, table: TunnelTable): KubeObject {
  return {
    metadata: metadataOf(tunnel, namesOf(tunnel).routes),
    data: { "targets.yaml": targetsText(table), ...Object.fromEntries(table.files) },
  };
}
