/** The relay's parts, put together: what both of its apps share. */
import type { JWK } from "jose";
import type { CallersConfig } from "../domain/callers.ts";
import type { ClusterEntry } from "../domain/cluster.ts";
import type { LimitValues } from "../domain/limits.ts";
import type { Service } from "../domain/service.ts";
import { type Instruments, noInstruments } from "../instruments.ts";
import type { Log } from "../log.ts";
import { digestToken } from "./digests.ts";
import { RateLimitedLog } from "../rate_limited_log.ts";
import type { HeadLimits } from "../http1/head.ts";
import { CloseCode } from "../protocol/errors.ts";
import type { SessionKeepalive } from "../protocol/session_options.ts";
import { defaultSettings, type Settings } from "../protocol/settings.ts";
import { AgentRefusals } from "./agents/agent_refusals.ts";
import { Admissions, type TableChanges } from "./agents/admissions.ts";
import { Callers, type Digest } from "./callers/callers.ts";
import type { KeysEvents } from "../jwt/keys.ts";
import type { Tracer } from "../trace.ts";
import type { Audit } from "./telemetry/audit.ts";
import { IdleTimeout } from "./limits/idle_timeout.ts";
import { Limits } from "./limits/limits.ts";
import { ResponseTimeouts } from "./limits/response_timeouts.ts";
import { RefusalThrottle } from "./limits/refusal_throttle.ts";
import type { ForwardLimits } from "./forward/forward.ts";
import type { PeerRouting } from "./hop/peer_routing.ts";
import { createPeerRouting, type PeerOptions } from "./hop/create_peer_routing.ts";
import type { WholeRelay } from "./readiness.ts";
import { CallerRefusals } from "./callers/caller_refusals.ts";
import { type Registration, Registry } from "./agents/registry.ts";
import { Disconnects } from "./agents/disconnects.ts";
import { SpreadDrain } from "./agents/spread_drain.ts";
import { RelayMetrics } from "./telemetry/metrics.ts";
import { systemClock } from "../jwt/clock.ts";
import { Authorizer } from "./people/authorizer.ts";
import { Assertions } from "./people/assertions.ts";
import { Identities } from "./people/identities.ts";
import { People, type PeopleConfig } from "./people/people.ts";
import type { Route } from "./route.ts";
import { PolicyAuthorizer } from "./services/service_authorizer.ts";
import { changesOf, type ServiceChanges } from "./services/service_changes.ts";
import { ServiceTable } from "./services/service_table.ts";
import { Services } from "./services/services.ts";
import type { RelaySignIn } from "./signin/relay_sign_in.ts";
import { History } from "./status/history.ts";
import { RecentRequests } from "./status/recent_requests.ts";
import { LocalStatus } from "./status/relay_status.ts";
import type { UnderWay } from "./status/under_way.ts";
import { TokenTable } from "./agents/tokens.ts";

/** What a relay is configured with; all durations in milliseconds. */
export interface RelayConfig {
  clusters: readonly ClusterEntry[];
  /** What is published at hostnames; absent for nothing. */
  services?: readonly Service[] | undefined;
  /** Private keys that sign who callers are, the first one first; absent for a pair of its own. */
  assertionKeys?: readonly JWK[] | undefined;
  /** Who vouches for people, and who may open what; absent for nobody. */
  people?: PeopleConfig | undefined;
  /** Who may call, and how callers prove themselves. */
  callers: CallersConfig;
  /** The limits of all clusters together. */
  limits: LimitValues;
  /** The limits of each cluster that has none of its own. */
  clusterLimits: LimitValues;
  /** How long a target may take from the request's end to its response's head; 0 for no limit. */
  responseTimeoutMs: number;
  /** How long a body with a length, or bytes that wait to be taken, may stand still; 0 for no limit. */
  idleTimeoutMs: number;
  /** Bytes of a request's body; 0 for no limit. */
  maxBodyBytes: number;
  head: HeadLimits;
  /** Streams of one session that are open at once. */
  maxStreams: number;
  /** Name and version of this program, for agents' logs. */
  version: string;
}

/** What a runtime lends to a relay for all its life. */
export interface RelayParts {
  /** Where the relay's metrics go; nowhere unless given. */
  instruments?: Instruments | undefined;
  /** Records each request, if wanted. */
  audit?: Audit | undefined;
  /** Begins spans, where they are wanted. */
  tracer?: Tracer | undefined;
  /** Runs a function soon, behind what has come already: frames written until then leave in one message. */
  defer: (run: () => void) => void;
  /** SHA-256 of a token, where it can be had at once; see `CallersContext`. */
  digest?: Digest | undefined;
  /** The other relays, where there are any. */
  relays?: PeerOptions | undefined;
  /** When sessions with agents count as dead; as docs/protocol.md has it unless given. */
  keepalive?: SessionKeepalive | undefined;
}

/** Parts that take time to make. */
interface MadeParts {
  readonly registry: Registry;
  readonly metrics: RelayMetrics;
  readonly tokens: TokenTable;
  readonly callers: Callers;
  readonly people: People;
  readonly assertions: Assertions;
}

/** Digits of its instance's id that name a relay in `Via`: 32 bits tell it from all others. */
const viaIdLength = 8;

/** State and parts of one relay. */
export class Relay {
  readonly config: RelayConfig;
  readonly log: Log;
  /** The log for lines that anybody outside can cause. */
  readonly rateLimitedLog: RateLimitedLog;
  readonly registry: Registry;
  readonly metrics: RelayMetrics;
  readonly defer: (run: () => void) => void;
  readonly keepalive: SessionKeepalive | undefined;
  readonly audit: Audit | undefined;
  readonly tracer: Tracer | undefined;
  readonly admissions: Admissions;
  /** How sessions ended. */
  readonly disconnects = new Disconnects();
  /** Requests and connections that are under way. */
  readonly underWay = new Set<UnderWay>();
  readonly startedMs = Date.now();
  /** The configuration's changes, counted. */
  changes = 0;
  /** What it tells people and programs. */
  readonly status: LocalStatus;
  /** The latest requests of services that keep them. */
  readonly recentRequests = new RecentRequests();
  /** What it had to do in the last minutes. */
  readonly history: History;
  #lastNumber = 0;
  readonly agentRefusals: AgentRefusals;
  readonly callers: Callers;
  readonly callerRefusals: CallerRefusals;
  readonly limits: Limits;
  readonly services: Services;
  /** Providers and policies. */
  readonly people: People;
  /** Where people sign in; undefined if they do not. */
  signIn: RelaySignIn | undefined;
  /** Asks policies about callers. */
  readonly authorizer: Authorizer;
  /** Signs who callers are. */
  readonly assertions: Assertions;
  /** What agents and applications are told about callers. */
  readonly identities: Identities;
  #clusters: readonly ClusterEntry[];
  #pathless: ReadonlySet<string>;
  #clustersById: ReadonlyMap<string, ClusterEntry>;
  /** Slows down the refusals of requests that exceed the limits. */
  readonly refusalThrottle = new RefusalThrottle();
  readonly settings: Settings;
  readonly forwardLimits: ForwardLimits;
  readonly responseTimeouts: ResponseTimeouts;
  /** Names this relay in `Via`, and tells it there from all others. */
  readonly viaName: string;
  /** The routing to other relays, which hold sessions of clusters too; undefined without other relays. */
  readonly peers: PeerRouting | undefined;
  /** Set once the relay shuts down: it is not ready, and takes no new agents. */
  isStopping = false;
  /** Set later on: it takes no new requests of callers either. */
  refusesRequests = false;
  /** Set at last: nor any that other relays forward. */
  refusesHops = false;
  /** The processes that are one relay together; undefined for a relay in one process. */
  whole: WholeRelay | undefined;
  /** The directory's relays all stop with this one: nobody is to look for its agents elsewhere. */
  readonly #stopsWithPeers: boolean;
  /** The other relays know that it leaves. */
  #withdrawn: Promise<void> | undefined;
  /** The agents are being asked to go elsewhere. */
  #leaving: SpreadDrain<Registration> | undefined;

  private constructor(config: RelayConfig, log: Log, parts: RelayParts, made: MadeParts) {
    const { registry, metrics, tokens, callers, people, assertions } = made;
    this.config = config;
    this.status = new LocalStatus(this);
    this.history = new History(registry, () => this.underWay.size);
    this.log = log;
    this.registry = registry;
    this.metrics = metrics;
    this.defer = parts.defer;
    this.keepalive = parts.keepalive;
    this.audit = parts.audit;
    this.tracer = parts.tracer;
    this.admissions = new Admissions(tokens);
    this.rateLimitedLog = new RateLimitedLog(log);
    this.agentRefusals = new AgentRefusals(metrics, this.rateLimitedLog);
    this.callers = callers;
    this.callerRefusals = new CallerRefusals(metrics, this.rateLimitedLog);
    this.limits = new Limits(config.limits, config.clusterLimits);
    this.limits.useClusters(config.clusters);
    metrics.useClusters(config.clusters.map(({ id }) => id));
    this.#clusters = config.clusters;
    this.#pathless = pathlessOf(config.clusters);
    this.#clustersById = new Map(config.clusters.map((cluster) => [cluster.id, cluster]));
    this.people = people;
    this.authorizer = new Authorizer(callers, people);
    this.assertions = assertions;
    this.identities = new Identities(people, assertions);
    const authorizer = new PolicyAuthorizer(this.authorizer, () => this.services.table);
    this.services = new Services(new ServiceTable([], []), authorizer);
    this.services.impersonates = (route) => this.#impersonates(route);
    this.replaceServices(config.services ?? []);
    this.responseTimeouts = new ResponseTimeouts(config.responseTimeoutMs);
    this.responseTimeouts.useClusters(config.clusters);
    this.forwardLimits = forwardLimitsOf(config);
    const instance = crypto.randomUUID();
    this.settings = settingsOf(config, instance);
    this.viaName = `culvert-${instance.slice(0, viaIdLength)}`;
    this.#stopsWithPeers = parts.relays?.stopTogether === true;
    this.peers = parts.relays && createPeerRouting({
      name: instance,
      via: this.viaName,
      log,
      limits: this.forwardLimits,
      counts: metrics,
      isHere: (cluster) => registry.pick(cluster) !== undefined,
      heldElsewhere: (claim) => registry.heldElsewhere(claim.cluster, claim),
    }, parts.relays);
  }

  /**
   * Hashes the tokens and builds the parts.
   *
   * @throws {SameTokenError} when two clusters share a token
   */
  static async create(config: RelayConfig, log: Log, parts: RelayParts): Promise<Relay> {
    const registry = new Registry();
    const { instruments = noInstruments } = parts;
    const metrics = new RelayMetrics({ instruments, registry, version: config.version });
    const tokens = await TokenTable.from(config.clusters);
    const keysEvents = reportKeys(metrics, log);
    const { digest } = parts;
    const callers = await Callers.create(config.callers, { keysEvents, digest });
    const people = await People.create(config.people ?? nobody, {
      clock: systemClock,
      digest: digest ?? digestToken,
      fetch: (url, init) => fetch(url, init),
      keysEvents,
      callerIssuer: config.callers.jwt?.issuer,
      changed: () => callers.open.review(),
    });
    const assertions = await Assertions.create(config.assertionKeys, systemClock);
    const made = { registry, metrics, tokens, callers, people, assertions };
    return new Relay(config, log, parts, made);
  }

  /** Entries of the clusters, by their ids. */
  get clusters(): ReadonlyMap<string, ClusterEntry> {
    return this.#clustersById;
  }

  /**
   * Takes other clusters. Sessions that they would not let in end; the others are not touched, and
   * new requests see their clusters' new entries.
   *
   * @throws {SameTokenError} when two clusters share a token; nothing has changed then
   */
  async replaceClusters(clusters: readonly ClusterEntry[]): Promise<TableChanges> {
    const tokens = await TokenTable.from(clusters);
    this.limits.useClusters(clusters);
    this.metrics.useClusters(clusters.map(({ id }) => id));
    this.responseTimeouts.useClusters(clusters);
    this.#clusters = clusters;
    this.#pathless = pathlessOf(clusters);
    this.#clustersById = new Map(clusters.map((cluster) => [cluster.id, cluster]));
    this.disconnects.forget((id) => !this.#clustersById.has(id));
    this.replaceServices(this.services.table.services);
    this.callers.open.review();
    const changes = this.admissions.replace(tokens);
    for (const { reviewed } of [...this.registry.all()]) reviewed?.();
    return changes;
  }

  /** Whether people stand for users of any cluster. */
  get mapsPeople(): boolean {
    return this.#clusters.some(({ impersonate }) => impersonate !== undefined) ||
      this.services.table.services.some(({ identity }) => identity?.impersonate !== undefined);
  }

  #impersonates(route: Route): boolean {
    if (route.kind === "cluster") {
      return this.clusters.get(route.cluster)?.impersonate !== undefined;
    }
    const found = this.services.table.find(route.hostname);
    return found?.service.identity?.impersonate !== undefined;
  }

  /** Returns a number that this relay has not used before. */
  nextNumber(): number {
    return ++this.#lastNumber;
  }

  /** Whether a cluster has nothing at `/tunnel/{id}`: services alone use it. */
  isPathless(id: string): boolean {
    return this.#pathless.has(id);
  }

  /**
   * Takes other services, policies and providers. What is open of services that are gone ends, and what
   * the policies of now would not let in.
   */
  async replacePublished(
    services: readonly Service[],
    people: PeopleConfig,
  ): Promise<ServiceChanges> {
    const before = this.services.table.services;
    await this.people.replace(people, () => void this.replaceServices(services));
    return changesOf(before, services);
  }

  /** Takes other services. What is open of those that are gone ends; the others are not touched. */
  replaceServices(services: readonly Service[]): ServiceChanges {
    const before = this.services.table.services;
    this.changes++;
    const table = new ServiceTable(services, this.#clusters);
    this.limits.useServices(services);
    this.recentRequests.useServices(services);
    this.metrics.useServices(table.names);
    this.services.replace(table);
    return changesOf(before, services);
  }

  /** Requests and upgraded connections that are open: in this relay's sessions and in other relays'. */
  get openRequests(): number {
    const forwarded = this.peers?.openRequests ?? 0;
    return [...this.registry.all()].reduce(
      (sum, { session }) => sum + session.openStreams,
      forwarded,
    );
  }

  /**
   * Turns readiness off and asks all agents to go elsewhere. Requests are still taken, since callers
   * come until whoever sends them here has seen that.
   *
   * @param withinMs The time that the agents have, over which they are asked: all at once would come
   *   to the other relays as one storm of handshakes.
   */
  leave(withinMs = 0): void {
    this.isStopping = true;
    this.#leaving ??= new SpreadDrain(this.registry.all(), withinMs, {
      ask: ({ session, withdraw }) => {
        session.announceDrain();
        // The other relays are to look for the agent where it goes.
        if (!this.#stopsWithPeers) withdraw?.();
      },
      done: () => {
        if (!this.#stopsWithPeers) this.#withdrawn ??= this.peers?.withdrawAll();
      },
    });
  }

  /**
   * Takes no new requests, lets open ones finish for `graceMs`, then ends them and the sessions.
   *
   * @param othersIdle What other relays forward is still taken until this resolves.
   */
  async drain(graceMs: number, othersIdle?: () => Promise<void>): Promise<void> {
    this.leave();
    this.#leaving?.finish();
    this.refusesRequests = true;
    const beganMs = performance.now();
    await othersIdle?.();
    const leftMs = othersIdle ? Math.max(0, graceMs - (performance.now() - beganMs)) : graceMs;
    this.refusesHops = true;
    const sessions = [...this.registry.all()].map(({ session }) => session);
    const draining = sessions.map((session) => session.drain(leftMs));
    await Promise.all([...draining, this.peers?.drained(leftMs)]);
    // Requests that other relays answer are no streams here; their callers wait all the same.
    const forwarded = this.peers?.openRequests ?? 0;
    const open = sessions.reduce((sum, { openStreams }) => sum + openStreams, forwarded);
    if (open > 0) {
      this.log.warn("Breaking off requests: --grace is over", { open, grace_ms: graceMs });
    }
    // Agents that were still shaking hands when this began have come since.
    for (const { session } of [...this.registry.all()]) {
      const reason = "The relay is shutting down";
      const isOver = session.openStreams > 0;
      session.close(CloseCode.GoingAway, isOver ? `${reason}, and its --grace is over` : reason);
    }
    this.peers?.breakOff();
    await this.#withdrawn;
    this.peers?.close();
  }
}

function pathlessOf(clusters: readonly ClusterEntry[]): Set<string> {
  return new Set(clusters.filter(({ targetAddr }) => targetAddr === undefined).map(({ id }) => id));
}

const nobody: PeopleConfig = { providers: [], policies: [] };

function forwardLimitsOf({ head, maxBodyBytes, idleTimeoutMs }: RelayConfig): ForwardLimits {
  return { head, maxBodyBytes, transfers: new IdleTimeout(idleTimeoutMs) };
}

/** What the relay says in each session with an agent. */
function settingsOf({ maxStreams, version }: RelayConfig, instance: string): Settings {
  return { ...defaultSettings, maxStreams, instance, software: `culvert-relay/${version}` };
}

/** What becomes known of the keys of callers' issuer. */
function reportKeys(metrics: RelayMetrics, log: Log): KeysEvents {
  return {
    fetched: () => metrics.callerKeysFetched("ok"),
    failed: (error, isUsable) => {
      metrics.callerKeysFetched("failed");
      log.warn("Could not fetch the keys of callers' issuer", { error, usable: isUsable });
    },
  };
}
