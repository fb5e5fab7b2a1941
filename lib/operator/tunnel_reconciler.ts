/** Makes a tunnel what its spec says: its entry at the relay, its token, its agents, their routes. */
import { isConflict, isNamespaceTerminating, isPermanent, KubeError } from "../kube/errors.ts";
import { keyOf, type KubeObject } from "../kube/objects.ts";
import {
  configMaps,
  deployments,
  podDisruptionBudgets,
  pods,
  type Resource,
  secrets,
} from "../kube/resources.ts";
import {
  agentDeployment,
  apiServerTarget,
  disruptionBudget,
  entrySecret,
  includes,
  namesOf,
  type ReadableTunnel,
  routesAnnotation,
  routesConfigMap,
  selectorOf,
  stamped,
  tokenAnnotation,
} from "./agent_objects.ts";
import { type AgentToken, AgentTokens, tokenName, tokenSecretPath } from "./agent_tokens.ts";
import { finalizer } from "./api/schema.ts";
import type { TunnelStatus } from "./api/tunnel.ts";
import { no, unknown, type Verdict, yes } from "./conditions.ts";
import {
  conditionsWithReady,
  type Context,
  isOrphaned,
  setFinalizers,
  titleOf,
  writeStatus,
} from "./context.ts";
import type { RelayChange } from "./relay_watches.ts";
import { type PutOutcome, RelayRefusal, RelayUnreachable } from "./relay_api.ts";
import { type Sidecars, sidecarsOf } from "./injection/sidecar.ts";
import { targetsText, type TunnelTable } from "./route_table.ts";
import { idOf, type Tunnel } from "./tunnels.ts";
import type { Followed } from "./world.ts";

/** What the reconciler asks of agents' pods. */
export type ProbeTargets = (address: string, port: number) => Promise<ServedTable | undefined>;

/** What an agent says of its table. */
export interface ServedTable {
  readonly hash: string;
  /** A newer one that it could not take, and why. */
  readonly refused?: { readonly hash: string; readonly reason: string };
}

/** What is made besides what all reconcilers have. */
export interface TunnelReconcilerOptions {
  readonly context: Context;
  /** What an agent serves; undefined if it can't be asked. */
  readonly probe: ProbeTargets;
  readonly newToken: () => string;
  /** The agents of a tunnel have taken a table: bindings may say so. */
  readonly served: (tunnelKey: string) => void;
}

/** An entry without a renewal goes after so long, if no agent is connected. */
const leaseSeconds = 7 * 24 * 3_600;
/** A refusal is not asked for again within this time, unless token or entry change. */
const refusalMs = 5 * 60_000;
/** How often agents are asked for what they serve while they have not taken a table. */
const probeMs = 1_000;
/** Agents that have not taken a table after this time have a problem. */
const takeMs = 60_000;

/** A change at the relay that is told so soon after a PUT is that PUT's. */
const ownChangeMs = 5_000;

/** How often what could not be cleaned up is tried again. */
const maxRetryMs = 2_000;
/** Agents that have not connected after this time have a problem. */
const startMs = 120_000;

/** What was last said to the relay for a tunnel, and what it answered. */
interface Registration {
  /** Of entry, endpoint and token. */
  readonly digest: string;
  readonly verdict: Verdict;
  /** Endpoint and id. */
  readonly place: string;
  readonly saidMs: number;
  readonly untilMs: number;
}

/** A table on its way to the agents. */
interface Delivery {
  readonly hash: string;
  readonly sinceMs: number;
  verdict: Verdict;
  /** The agents serve this table. */
  isServed: boolean;
}

/** Somebody else's object has the name that one of ours would have. */
class NotOurs extends Error {
  override readonly name = "NotOurs";
}

/** Reconciles tunnels of both kinds. */
export class TunnelReconciler {
  readonly #options: TunnelReconcilerOptions;
  readonly #context: Context;
  readonly #registrations = new Map<string, Registration>();
  readonly #tokens = new AgentTokens();
  /** Tunnels whose entry somebody has deleted at the relay. */
  readonly #lost = new Set<string>();
  readonly #deliveries = new Map<string, Delivery>();
  /** By tunnel: what its agents serve, as {@link targetsText} has each target. */
  readonly #served = new Map<string, ReadonlySet<string>>();

  constructor(options: TunnelReconcilerOptions) {
    this.#options = options;
    this.#context = options.context;
  }

  /** Whether all agents of a tunnel serve a target as it is. */
  serves(tunnelKey: string, target: unknown): boolean {
    return this.#served.get(tunnelKey)?.has(JSON.stringify(target)) ?? false;
  }

  /** What the relay last said of a tunnel's registration; undefined before it was asked. */
  registration(tunnelKey: string): Verdict | undefined {
    return this.#registrations.get(tunnelKey)?.verdict;
  }

  /**
   * An entry at a relay has changed, or its agents have. What somebody else has changed is put again
   * with the next look.
   *
   * @returns the keys of the tunnels that are about it
   */
  changedAtRelay({ endpoint, kind, type, name }: RelayChange): readonly string[] {
    const own = [...this.#registrations].filter(([, { place }]) => place === `${endpoint} ${name}`);
    if (kind !== "clusters") return own.map(([key]) => key);
    for (const [key, known] of own) {
      const isGone = type === "DELETED";
      const isOwn = known.verdict.status === "True" &&
        performance.now() - known.saidMs < ownChangeMs;
      if (isOwn && !isGone) continue;
      if (isGone) this.#lost.add(key);
      this.#registrations.set(key, { ...known, digest: "" });
    }
    return own.map(([key]) => key);
  }

  /** The tunnel is gone from the cluster. */
  forget(tunnelKey: string): void {
    this.#lost.delete(tunnelKey);
    this.#registrations.delete(tunnelKey);
    this.#tokens.forget(tunnelKey);
    this.#deliveries.delete(tunnelKey);
    this.#served.delete(tunnelKey);
  }

  /** @returns after how many milliseconds the tunnel wants to be looked at again */
  async reconcile(tunnel: Tunnel): Promise<number | undefined> {
    if (tunnel.isDeleted) return await this.#finalize(tunnel);
    if (!isReadable(tunnel)) {
      const verdicts = { Accepted: no("InvalidSpec", "The spec can't be read; upgrade the CRDs") };
      await this.#writeStatus(tunnel, verdicts, {});
      return undefined;
    }
    if (tunnel.spec.paused) {
      await this.#writeStatus(tunnel, { Accepted: unknown("Paused", "spec.paused is true") }, {});
      return undefined;
    }
    return await this.#build(tunnel);
  }

  async #build(tunnel: ReadableTunnel): Promise<number> {
    const { registration } = tunnel.spec.relay;
    const id = idOf(tunnel, this.#context.settings.idPrefix);
    const progress: Progress = { id, verdicts: {}, status: this.#agentsStatus(tunnel) };
    let again = this.#context.settings.checkMs;
    try {
      if (this.#lost.has(tunnel.key)) await this.#writeLost(tunnel, progress);
      if (registration.api) await this.#record(tunnel, id, registration.api.endpoint);
      const token = await this.#token(tunnel, id, progress);
      if (token) again = Math.min(again, await this.#agents(tunnel, token, progress));
    } catch (error) {
      if (isNamespaceTerminating(error)) return again;
      progress.verdicts = { ...progress.verdicts, AgentAvailable: faultVerdict(error) };
      if (!(error instanceof NotOurs) && !isPermanent(error)) {
        await this.#writeStatus(tunnel, progress.verdicts, progress.status);
        throw error;
      }
    }
    await this.#writeStatus(tunnel, progress.verdicts, progress.status);
    const registered = this.#registrations.get(tunnel.key);
    const waitMs = (registered?.untilMs ?? Infinity) - performance.now();
    return Math.max(100, Math.min(again, waitMs));
  }

  /** That the entry is gone is told before it is put again, which may be refused. */
  async #writeLost(tunnel: ReadableTunnel, { status }: Progress): Promise<void> {
    const { conditions = [], tokenSecret, routes, routesHash } = tunnel.status;
    const others = conditions.filter(({ type }) => !["Ready", "Registered"].includes(type))
      .map(({ type, status, reason, message }) => [type, { status, reason, message }]);
    const lost = no("NotFound", "The relay does not have the entry any more; it is put again");
    await this.#writeStatus(tunnel, { Registered: lost, ...Object.fromEntries(others) }, {
      ...status,
      ...tokenSecret !== undefined && { tokenSecret },
      ...routes !== undefined && { routes },
      ...routesHash !== undefined && { routesHash },
    });
  }

  /** What clean-up needs is written down before there is anything to clean up. */
  async #record(tunnel: ReadableTunnel, id: string, endpoint: string): Promise<void> {
    const { resource, object, status } = tunnel;
    const finalizers = object.metadata.finalizers ?? [];
    if (!finalizers.includes(finalizer)) {
      await setFinalizers(this.#context, resource, kindOf(tunnel), object, [finalizer]);
    }
    if (status.id === id && status.endpoint === endpoint) return;
    const { name, namespace, uid = "" } = object.metadata;
    const written = await this.#context.client.apply(resource, {
      metadata: { name, ...namespace !== undefined && { namespace }, uid },
      status: { ...status, id, endpoint },
    }, "status");
    this.#context.world.learn(kindOf(tunnel), written);
  }

  /** The agents' token; undefined where agents could not use one. */
  async #token(
    tunnel: ReadableTunnel,
    id: string,
    progress: Progress,
  ): Promise<AgentToken | undefined> {
    const { registration } = tunnel.spec.relay;
    if (registration.existing) {
      const { name, key } = registration.existing.tokenRef;
      const token = await this.#context.accesses.token(tunnel.home, { name, key });
      progress.verdicts = {
        Registered: token === undefined
          ? no("TokenMissing", `There is no Secret ${tunnel.home}/${name} with the key ${key}`)
          : yes("ExistingToken", "The relay's configuration has the entry"),
      };
      if (token === undefined) return undefined;
      const digest = this.#context.digest(token);
      return { digest, digests: [digest] };
    }
    const at = tokenSecretPath(tunnel);
    const secret = await this.#context.client.find(secrets, at);
    if (secret && !isOwnedBy(secret, tunnel)) throw notOurs(secrets, at.name);
    const found = await this.#tokens.ensure(tunnel, secret, {
      context: this.#context,
      newToken: this.#options.newToken,
      register: (digests) => this.#register(tunnel, id, digests, progress),
      hasAgents: this.#deploymentOf(tunnel) !== undefined,
    });
    if (!found) return undefined;
    progress.status = {
      ...progress.status,
      tokenSecret: at.name,
      tokenDigests: [...found.digests],
    };
    return found;
  }

  /** Registers the tunnel. @returns what came of it */
  async #register(
    tunnel: ReadableTunnel,
    id: string,
    digests: readonly string[],
    progress: Progress,
  ): Promise<Verdict> {
    const { relay: { registration }, sidecar } = tunnel.spec;
    const entry = {
      tokens: digests.map((tokenSha256) => ({ name: tokenName(tokenSha256), tokenSha256 })),
      ...tunnel.spec.kubernetesApi && { targetAddr: apiServerTarget },
      // What agents in pods may ask for.
      ...sidecar.hostnames && { hostnames: sidecar.hostnames, policy: tunnel.spec.defaultPolicy },
    };
    if (registration.secret) {
      const targets = this.#table(tunnel).targets.map(({ name }) => name);
      await this.#ensure(secrets, undefined, tunnel, {
        ...entrySecret(tunnel, registration.secret.name, { id, ...entry }, targets),
      });
      const message = `Add the entry in Secret ${registration.secret.name} to the relay's clusters`;
      const written = yes("EntryWritten", message);
      progress.verdicts = { Registered: written };
      return written;
    }
    const verdict = await this.#registerAtApi(tunnel, id, entry);
    progress.verdicts = { Registered: verdict };
    return verdict;
  }

  async #registerAtApi(
    tunnel: ReadableTunnel,
    id: string,
    entry: Readonly<Record<string, unknown>>,
  ): Promise<Verdict> {
    const { accesses, relays, digest, settings } = this.#context;
    const found = await accesses.find(tunnel);
    if ("fault" in found) return no(found.fault.reason, found.fault.message);
    const { access, owner } = found;
    const body = { ...entry, owner, leaseSeconds };
    const said = digest(JSON.stringify([access, id, body]));
    const last = this.#registrations.get(tunnel.key);
    if (last?.digest === said && performance.now() < last.untilMs) return last.verdict;
    const remember = (verdict: Verdict, forMs: number): Verdict => {
      const untilMs = performance.now() + forMs;
      const saidMs = performance.now();
      const place = `${access.endpoint} ${id}`;
      this.#registrations.set(tunnel.key, { digest: said, verdict, place, saidMs, untilMs });
      this.#lost.delete(tunnel.key);
      return verdict;
    };
    try {
      const outcome = await relays.put(access, "clusters", id, body);
      return remember(
        outcomeVerdict(outcome, id),
        outcome === "pending" ? 10_000 : settings.resyncMs,
      );
    } catch (error) {
      if (error instanceof RelayRefusal) return remember(refusalVerdict(error), refusalMs);
      if (!(error instanceof RelayUnreachable)) throw error;
      return remember(
        no("RelayUnreachable", `At ${access.endpoint}: ${error.message}`),
        error.retryAfterMs,
      );
    }
  }

  /** Agents and their routes. @returns when to look again */
  async #agents(tunnel: ReadableTunnel, token: AgentToken, progress: Progress): Promise<number> {
    const table = this.#table(tunnel);
    const { spec: { agent } } = tunnel;
    const parts = {
      image: agent.image ?? this.#context.settings.agentImage,
    };
    await this.#ensure(configMaps, "configMaps", tunnel, routesConfigMap(tunnel, table));
    const deployment = await this.#ensure(
      deployments,
      "deployments",
      tunnel,
      agentDeployment(tunnel, parts),
    );
    await this.#ensureBudget(tunnel);
    // Kubelet takes a minute to look at Secrets by itself.
    if (token.digests.length > 1) {
      await this.#hurry(this.#podsOf(tunnel), tokenAnnotation, token.digest.slice(0, 16));
    }
    const { readyReplicas = 0 } = statusOf(deployment);
    progress.status = {
      ...progress.status,
      ...this.#agentsStatus(tunnel),
      routes: table.targets.length,
      routesHash: this.#context.digest(targetsText(table)),
    };
    const available = availability(deployment, tunnel, agent.replicas);
    const delivery = await this.#deliver(tunnel, table);
    progress.verdicts = {
      ...progress.verdicts,
      AgentAvailable: available,
      RoutesProgrammed: agent.replicas === 0
        ? no("NoAgents", "spec.agent.replicas is 0")
        : available.status === "True"
        ? delivery.verdict
        : unknown("WaitingForAgents", "No agent is connected"),
    };
    const isWaiting = readyReplicas > 0 && !delivery.isServed;
    return isWaiting ? probeMs : this.#context.settings.checkMs;
  }

  /** What the scale subresource and the printed columns need. */
  #agentsStatus(tunnel: Tunnel): TunnelStatus {
    const { replicas = 0, readyReplicas = 0 } = statusOf(this.#deploymentOf(tunnel));
    return { replicas, connectedAgents: readyReplicas, selector: selectorOf(tunnel) };
  }

  async #ensureBudget(tunnel: ReadableTunnel): Promise<void> {
    const { agent: { pdb, replicas } } = tunnel.spec;
    const name = namesOf(tunnel).agent;
    if (pdb && replicas > 1) {
      await this.#ensure(podDisruptionBudgets, "budgets", tunnel, disruptionBudget(tunnel));
      return;
    }
    const there = this.#context.world.get("budgets", `${tunnel.home}/${name}`);
    if (!there || !isOwnedBy(there, tunnel)) return;
    const at = { namespace: tunnel.home, name };
    await this.#context.client.delete(podDisruptionBudgets, at, there.metadata.uid!);
  }

  /** Hurries the table to the agents, and asks them whether they serve it. */
  async #deliver(tunnel: ReadableTunnel, table: TunnelTable): Promise<Delivery> {
    const hash = this.#context.digest(targetsText(table));
    const delivery = this.#deliveryOf(tunnel.key, hash);
    const { healthPort } = tunnel.spec.agent;
    const ready = this.#podsOf(tunnel).filter(({ isReady }) => isReady);
    if (ready.length === 0) {
      delivery.isServed = false;
      return delivery;
    }
    const answers = await Promise.all(ready.map(async (pod) => {
      const { podIP } = pod as { podIP?: string };
      return healthPort === 0 || podIP === undefined
        ? undefined
        : await this.#options.probe(podIP, healthPort);
    }));
    const late = ready.filter((_pod, index) => answers[index]?.hash !== hash);
    const isAnswered = answers.some((it) => it !== undefined);
    const ageMs = performance.now() - delivery.sinceMs;
    if (late.length === 0) this.#markServed(tunnel.key, delivery, table, yes("Programmed"));
    else {
      await this.#hurry(late, routesAnnotation, hash);
      // Nobody can be asked; the annotation has told kubelet, which has had its time.
      if (!isAnswered && (healthPort === 0 || ageMs > takeMs / 2)) {
        const message = "The agents' health listeners can't be asked whether they have the routes";
        this.#markServed(tunnel.key, delivery, table, yes("Unverified", message));
      } else if (!delivery.isServed) {
        const count = `${late.length} of ${ready.length} agents`;
        const refused = answers.find((it) => it?.refused?.hash === hash)?.refused;
        delivery.verdict = refused
          ? no("NotTaken", `${count} keep the routes before: ${refused.reason}`)
          : ageMs > takeMs
          ? no("NotTaken", `${count} still serve other routes; see their logs`)
          : unknown("Programming", `${count} are about to take the routes`);
      }
    }
    return delivery;
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

  /** Changes pods' metadata, so that kubelet looks at their volumes now and not within a minute. */
  async #hurry(late: readonly KubeObject[], annotation: string, value: string): Promise<void> {
    for (const { metadata } of late) {
      if (metadata.annotations?.[annotation] === value) continue;
      const { namespace, name } = metadata;
      const patch = { metadata: { annotations: { [annotation]: value } } };
      try {
        await this.#context.client.merge(pods, { namespace, name }, patch);
      } catch (error) {
        if (!(error instanceof KubeError && error.status === 404)) throw error;
      }
    }
  }

  #podsOf(tunnel: Tunnel): readonly KubeObject[] {
    const selector = selectorOf(tunnel).split(",").map((term) => term.split("="));
    return [...this.#context.world.values("pods")].filter(({ metadata }) =>
      metadata.namespace === tunnel.home && metadata.deletionTimestamp === undefined &&
      selector.every(([label = "", value]) => metadata.labels?.[label] === value)
    );
  }

  #table(tunnel: Tunnel): TunnelTable {
    return this.#context.routes().tunnels.get(tunnel.key) ?? { targets: [], files: new Map() };
  }

  #deploymentOf(tunnel: Tunnel): KubeObject | undefined {
    const key = `${tunnel.home}/${namesOf(tunnel).agent}`;
    const deployment = this.#context.world.get("deployments", key);
    return deployment && isOwnedBy(deployment, tunnel) ? deployment : undefined;
  }

  /** Applies an object unless it is there as wanted. @throws {NotOurs} */
  async #ensure(
    resource: Resource,
    kind: Followed | undefined,
    tunnel: Tunnel,
    wanted: KubeObject,
  ): Promise<KubeObject> {
    const object = stamped(wanted, this.#context.digest);
    const { namespace, name } = object.metadata;
    const cached = kind && this.#context.world.get(kind, keyOf(object.metadata));
    const there = cached ?? await this.#context.client.find(resource, { namespace, name });
    if (there && !isOwnedBy(there, tunnel)) throw notOurs(resource, name);
    // A Secret's text is not what it is read as; its digest stands for it.
    const { stringData: _, ...visible } = object;
    if (there && includes(there, visible)) return there;
    const written = await this.#context.client.apply(resource, object);
    if (kind) this.#context.world.learn(kind, written);
    return written;
  }

  async #finalize(tunnel: Tunnel): Promise<number | undefined> {
    const { object, status, spec } = tunnel;
    const finalizers = object.metadata.finalizers ?? [];
    if (!finalizers.includes(finalizer)) return undefined;
    const isKept = spec?.deletionPolicy === "Retain" || status.id === undefined ||
      status.endpoint === undefined;
    // Bindings give up what they have at the relay first, or leave it where it is to stay.
    if (this.#hasBindings(tunnel.key) && !isOrphaned(this.#context, object)) {
      return Math.min(maxRetryMs, this.#context.settings.checkMs);
    }
    if (!isKept) {
      const again = await this.#unregister(tunnel, status.id!);
      if (again !== undefined) return again;
    }
    await setFinalizers(this.#context, tunnel.resource, kindOf(tunnel), object, []);
    this.forget(tunnel.key);
    this.#context.accesses.forget(tunnel.key);
    return undefined;
  }

  /** Takes the entry off the relay. @returns when to try again; undefined when it is done */
  async #unregister(tunnel: Tunnel, id: string): Promise<number | undefined> {
    const { accesses, relays } = this.#context;
    const retryMs = Math.min(maxRetryMs, this.#context.settings.checkMs);
    let fault: string;
    try {
      // Services at the relay name the cluster: they go first.
      if (this.#hasBindings(tunnel.key) && !isOrphaned(this.#context, tunnel.object)) {
        return retryMs;
      }
      const found = await accesses.find(tunnel);
      if ("access" in found) {
        await relays.delete(found.access, "clusters", id, found.owner);
        return undefined;
      }
      fault = found.fault.message;
    } catch (error) {
      if (!(error instanceof RelayRefusal) && !(error instanceof RelayUnreachable)) throw error;
      fault = error.message;
    }
    if (!isOrphaned(this.#context, tunnel.object)) {
      await this.#writeStatus(tunnel, { Registered: no("CleanUpFailed", fault) }, {
        id,
        ...tunnel.status.endpoint !== undefined && { endpoint: tunnel.status.endpoint },
      });
      return retryMs;
    }
    await this.#context.events.report(tunnel.resource, tunnel.object, {
      type: "Warning",
      reason: "Orphaned",
      action: "Finalize",
      note: `The entry ${id} at ${tunnel.status.endpoint} was left: ${fault}`,
    });
    this.#context.log.warn("A tunnel's entry was left at its relay", {
      tunnel: titleOf(tunnel.resource, tunnel.object),
      id,
      reason: fault,
    });
    return undefined;
  }

  #hasBindings(tunnelKey: string): boolean {
    for (const binding of this.#context.world.values("bindings")) {
      const { registered = [] } = (binding["status"] ?? {}) as {
        registered?: readonly { readonly tunnel: string }[];
      };
      if (registered.some(({ tunnel }) => tunnel === tunnelKey)) return true;
    }
    return false;
  }

  /** What a MutatingAdmissionPolicy adds to pods of the tunnel's namespace. */
  #sidecars(tunnel: Tunnel): Sidecars | undefined {
    const { hasInjectionPolicy, agentImage } = this.#context.settings;
    const isInjected = hasInjectionPolicy && tunnel.resource.isNamespaced && isReadable(tunnel);
    return isInjected ? sidecarsOf(tunnel, agentImage) : undefined;
  }

  async #writeStatus(
    tunnel: Tunnel,
    verdicts: Readonly<Record<string, Verdict>>,
    status: TunnelStatus,
  ): Promise<void> {
    const { resource, status: before } = tunnel;
    // It may have been written to since.
    const object = this.#context.world.get(kindOf(tunnel), keyOf(tunnel.object.metadata)) ??
      tunnel.object;
    const { generation } = tunnel.object.metadata;
    const { id = before.id, endpoint = before.endpoint } = (object["status"] ?? {}) as TunnelStatus;
    const digests = before.tokenDigests;
    const sidecar = this.#sidecars(tunnel);
    await writeStatus(this.#context, resource, kindOf(tunnel), object, {
      ...generation !== undefined && { observedGeneration: generation },
      ...id !== undefined && { id },
      ...endpoint !== undefined && { endpoint },
      // Digests that the relay may know are kept until others are known to be there.
      ...digests !== undefined && { tokenDigests: digests },
      ...sidecar && { sidecar },
      ...status,
      conditions: conditionsWithReady(verdicts, object),
    });
  }
}

interface Progress {
  readonly id: string;
  verdicts: Readonly<Record<string, Verdict>>;
  status: TunnelStatus;
}

function isReadable(tunnel: Tunnel): tunnel is ReadableTunnel {
  return tunnel.spec !== undefined;
}

/** Where the caches have a tunnel. */
export function kindOf({ resource }: Tunnel): Followed {
  return resource.isNamespaced ? "tunnels" : "clusterTunnels";
}

function isOwnedBy({ metadata }: KubeObject, { object }: Tunnel): boolean {
  const { uid } = object.metadata;
  return metadata.ownerReferences?.some((owner) => owner.uid === uid) ?? false;
}

function notOurs({ kind }: Resource, name: string): NotOurs {
  return new NotOurs(`${kind} ${name} is there already and belongs to somebody else`);
}

function faultVerdict(error: unknown): Verdict {
  if (error instanceof NotOurs) return no("Conflict", error.message);
  if (isPermanent(error)) return no("Invalid", (error as Error).message);
  const isWaiting = isConflict(error);
  return isWaiting ? unknown("Retrying", "An object changed meanwhile") : unknown(
    "ApiServerError",
    error instanceof Error ? error.message : String(error),
  );
}

function outcomeVerdict(outcome: PutOutcome, id: string): Verdict {
  return outcome === "accepted"
    ? yes("Registered")
    : no("PendingAcceptance", `Somebody must accept ${id} at the relay`);
}

/** The relay's reasons as conditions have them. */
function refusalVerdict({ status, code, message }: RelayRefusal): Verdict {
  if (status === 409) return no("Conflict", message);
  if (status === 429) return no("QuotaExceeded", message);
  if (status === 401) return no("Unauthorized", `The relay does not know the token: ${message}`);
  if (status === 403) return no("Forbidden", message);
  return no("Refused", code === "" ? message : `${code}: ${message}`);
}

interface DeploymentStatus {
  readonly observedGeneration?: number;
  readonly replicas?: number;
  readonly readyReplicas?: number;
  readonly updatedReplicas?: number;
}

function statusOf(deployment: KubeObject | undefined): DeploymentStatus {
  return (deployment?.["status"] ?? {}) as DeploymentStatus;
}

/** Whether agents are connected. New ones have some time before it is a fault that they are not. */
function availability(deployment: KubeObject, { status }: Tunnel, wanted: number): Verdict {
  if (wanted === 0) return no("NoAgents", "spec.agent.replicas is 0");
  const { readyReplicas: ready = 0 } = statusOf(deployment);
  if (ready === 0) {
    const ageMs = Date.now() - Date.parse(deployment.metadata.creationTimestamp ?? "");
    const last = status.conditions?.find(({ type }) => type === "AgentAvailable")?.status;
    const isNew = ageMs < startMs && (last === undefined || last === "Unknown");
    return isNew
      ? unknown("Starting", `${wanted} agents are about to connect to the relay`)
      : no("NotConnected", `None of ${wanted} agents is connected to the relay`);
  }
  return yes("Connected", ready < wanted ? `${ready} of ${wanted} agents are connected` : "");
}
