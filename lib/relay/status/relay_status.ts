/** What one relay knows of itself, for people and programs. */
import { CloseCode } from "../../protocol/errors.ts";
import { requestedUpgrade } from "../../http1/fields.ts";
import type { ClusterEntry } from "../../domain/cluster.ts";
import type { Service } from "../../domain/service.ts";
import type {
  AgentStatus,
  ClusterStatus,
  RelayStatus,
  ServiceStatus,
  Status,
  StatusScope,
  StatusSource,
  StreamStatus,
} from "../../domain/status.ts";
import type { Log } from "../../log.ts";
import type { Settings } from "../../protocol/settings.ts";
import type { Disconnects } from "../agents/disconnects.ts";
import { type Registration, type Registry, serves } from "../agents/registry.ts";
import { isAnonymous } from "../callers/caller_methods.ts";
import type { Directory } from "../directory/directory.ts";
import { withoutQuery } from "../route.ts";
import type { Services } from "../services/services.ts";
import type { MetricHistory } from "../telemetry/metric_history.ts";
import { type EntryFacts, noEntryFacts } from "./entry_facts.ts";
import { Follower } from "./follower.ts";
import { type EndableKind, type OtherRelays, together } from "./other_relays.ts";
import type { RecentRequests } from "./recent_requests.ts";
import { everything, scoped } from "./scope.ts";
import type { UnderWay } from "./under_way.ts";

/** The code of a stream that was ended through the admin API or a status page. */
export const endedByAdmin = "ended_by_admin";

/** How often a picture of several relays is taken anew, in milliseconds. */
const othersMs = 5_000;

/** A relay, as its status tells of it. */
export interface ReportedRelay {
  readonly config: { readonly version: string };
  readonly settings: Settings;
  readonly log: Log;
  readonly startedMs: number;
  readonly isStopping: boolean;
  /** The configuration's changes, counted. */
  readonly changes: number;
  readonly registry: Registry;
  readonly disconnects: Disconnects;
  readonly clusters: ReadonlyMap<string, ClusterEntry>;
  readonly services: Services;
  readonly underWay: ReadonlySet<UnderWay>;
  readonly recentRequests: RecentRequests;
  readonly metrics: { readonly history: MetricHistory };
  readonly peers: { readonly directory: Pick<Directory, "isUp"> } | undefined;
}

/** Reads one relay, and the others where there are any. */
export class LocalStatus implements StatusSource {
  readonly #relay: ReportedRelay;
  /** What the admin API knows of entries. */
  facts: EntryFacts = noEntryFacts;
  /** Relays that share a directory with this one. */
  others: OtherRelays | undefined;

  constructor(relay: ReportedRelay) {
    this.#relay = relay;
  }

  async read(scope: StatusScope = everything): Promise<Status> {
    const own = this.now();
    const others = await this.others?.read() ?? [];
    return scoped(others.length > 0 ? together(own, others) : own, scope);
  }

  /** All of it, as it is now. */
  now(): Status {
    const relay = this.#relay;
    const { id } = this;
    const { limits, reloads, certificates } = relay.metrics.history;
    return {
      atMs: Date.now(),
      relays: [this.#self()],
      clusters: this.#clusters(),
      services: relay.services.table.services.map((service) => this.#service(service))
        .sort((a, b) => compare(a.name, b.name)),
      streams: [...relay.underWay].map((request) => this.#stream(request)),
      certificates: [...certificates].map(([option, notAfterMs]) => ({
        relay: id,
        option,
        notAfterMs,
      })),
      reloads: [...reloads].map(([source, reload]) => ({ relay: id, source, ...reload })),
      limitHits: [...limits].map(([limit, hits]) => ({ relay: id, limit, ...hits })),
      requests: relay.recentRequests.all,
    };
  }

  /** Names this relay among all. */
  get id(): string {
    return this.#relay.settings.instance!;
  }

  async disconnectAgent(
    id: string,
    by: string,
    scope: StatusScope = everything,
  ): Promise<boolean> {
    return this.disconnectHere(id, by, scope) || await this.#endElsewhere("agents", id, by, scope);
  }

  async #endElsewhere(
    kind: EndableKind,
    id: string,
    by: string,
    scope: StatusScope,
  ): Promise<boolean> {
    if (!this.others) return false;
    const { clusters, streams } = await this.read(scope);
    const seen = kind === "streams" ? streams : clusters.flatMap(({ agents }) => agents);
    return seen.some((it) => it.id === id) && await this.others.end(kind, id, by);
  }

  /** Ends a session of this relay. */
  disconnectHere(id: string, by: string, scope: StatusScope): boolean {
    const found = this.#relay.registry.all().find((it) => this.#agentId(it) === id);
    if (!found || !scope.seesCluster(found.cluster.id)) return false;
    const { cluster, instance, address: peer } = found;
    this.#relay.log.warn("Disconnecting an agent: an administrator asked for it", {
      ...{ cluster: cluster.id, instance, peer, by },
    });
    // Not 1008: its agent is welcome to connect again.
    found.session.close(CloseCode.GoingAway, "Disconnected by an administrator");
    return true;
  }

  async endStream(id: string, by: string, scope: StatusScope = everything): Promise<boolean> {
    return this.endHere(id, by, scope) || await this.#endElsewhere("streams", id, by, scope);
  }

  /** Ends a request or connection that a caller of this relay has open. */
  endHere(id: string, by: string, scope: StatusScope): boolean {
    const found = this.#relay.underWay.values().find((it) => this.#streamId(it) === id);
    if (!found || !scope.seesCluster(found.route.cluster)) return false;
    this.#relay.log.warn("Ending a stream: an administrator asked for it", {
      ...{ request_id: found.requestId, cluster: found.route.cluster, by },
    });
    found.revoke(endedByAdmin);
    return true;
  }

  follow(changed: () => void): () => void {
    return new Follower(() => this.#mark(), changed).stop;
  }

  /** What tells one picture from the next, cheaply. */
  #mark(): string {
    // What others have can only be asked for.
    const others = this.others ? Math.floor(Date.now() / othersMs) : "";
    const { registry, underWay, services } = this.#relay;
    return `${registry.changes} ${underWay.size} ${services.table.services.length} ${this.#relay.changes} ${others}`;
  }

  #self(): RelayStatus {
    const relay = this.#relay;
    const isDirectoryUp = relay.peers?.directory.isUp;
    return {
      id: this.id,
      version: relay.config.version,
      startedMs: relay.startedMs,
      isStopping: relay.isStopping,
      agents: relay.registry.size,
      openStreams: relay.underWay.size,
      ...isDirectoryUp !== undefined && { isDirectoryUp },
    };
  }

  #clusters(): ClusterStatus[] {
    const agents = Map.groupBy(
      [...this.#relay.registry.all()].map((registration) => this.agent(registration)),
      ({ cluster }) => cluster,
    );
    const entries = [...this.#relay.clusters.values(), ...this.facts.waitingClusters()];
    return entries.map((entry) => this.#cluster(entry, agents.get(entry.id) ?? []))
      .sort((a, b) => compare(a.id, b.id));
  }

  #cluster(entry: Omit<ClusterEntry, "tokens">, agents: AgentStatus[]): ClusterStatus {
    const { id, targetAddr, impersonation, claims, callerPolicy } = entry;
    const lastDisconnect = this.#relay.disconnects.of(id);
    return {
      id,
      source: "configuration",
      isAccepted: true,
      ...this.facts.cluster(id),
      ...targetAddr !== undefined && { targetAddr },
      impersonation,
      hostnames: (claims?.hostnames ?? []).map(({ name }) => name),
      ...claims && { policy: claims.policy },
      ...callerPolicy !== undefined && { callerPolicy },
      agents: agents.sort((a, b) => b.sinceMs - a.sinceMs),
      ...lastDisconnect && { lastDisconnect },
    };
  }

  #agentId({ number }: Registration): string {
    return `${shortened(this.id)}-${number}`;
  }

  /** An agent's session. */
  agent(registration: Registration): AgentStatus {
    const { session, cluster, instance, slot, address, tokenName, sinceMs } = registration;
    const { announced, stats, peer } = session;
    return {
      id: this.#agentId(registration),
      cluster: cluster.id,
      relay: this.id,
      instance,
      slot,
      address,
      software: peer?.software,
      protocolVersion: session.version,
      tokenName,
      sinceMs,
      roundTripMs: session.roundTripMs,
      openStreams: session.openStreams,
      ...stats,
      isDraining: session.isDraining,
      isSuspect: session.isSuspect,
      ...announced && {
        targets: announced.targets.map(({ name, kind }) => ({ name, kind })),
        targetsHash: announced.hash,
      },
      claims: [...registration.claims?.keys() ?? []],
    };
  }

  #service(service: Service): ServiceStatus {
    const { name, hostnames, cluster, target, kind, policy, provider } = service;
    const route = this.#relay.services.table.routeByName(name);
    const agents = this.#relay.registry.of(cluster)
      .filter((registration) => route && serves(registration, route));
    return {
      name,
      source: "configuration",
      ...this.facts.service(name),
      hostnames: hostnames.map(({ name, port }) => port === undefined ? name : `${name}:${port}`),
      cluster,
      target,
      kind,
      policy,
      provider,
      agents: agents.length,
    };
  }

  #streamId({ number }: UnderWay): string {
    return `${shortened(this.id)}-${number}`;
  }

  #stream(request: UnderWay): StreamStatus {
    const { route, caller, registration, source } = request;
    const { head, peer } = source;
    const carried = request.carried ?? source.progress?.();
    const isService = route.kind === "service";
    const known = caller && !isAnonymous(caller.kind) ? caller : undefined;
    return {
      id: this.#streamId(request),
      relay: this.id,
      requestId: request.requestId,
      cluster: route.cluster,
      ...isService && { service: route.name, hostname: route.hostname },
      caller: known?.person?.username ?? known?.name,
      callerKind: known?.kind,
      address: peer.address,
      method: head.method,
      path: withoutQuery(route.path),
      upgrade: requestedUpgrade(head),
      sinceMs: request.sinceMs,
      bytesIn: carried?.bytesIn,
      bytesOut: carried?.bytes,
      agent: registration && this.#agentId(registration),
    };
  }
}

const idLength = 8;

/** Enough of a relay's id to tell it from all others. */
export function shortened(id: string): string {
  return id.slice(0, idLength);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
