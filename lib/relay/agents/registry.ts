/** Which sessions serve which cluster, within this process. */
import { CloseCode } from "../../protocol/errors.ts";
import type { Cluster } from "../../domain/cluster.ts";
import type { Session } from "../../protocol/session.ts";
import type { Route } from "../route.ts";

/** A session and what the registry goes by. */
export interface Registration {
  readonly session: Session;
  /** Tells it from all other sessions of this relay. */
  readonly number: number;
  /** The agent's address. */
  readonly address: string;
  /** The cluster as it is configured now. It may change while the session lasts. */
  readonly cluster: Cluster;
  /** The name of the token that the agent showed. */
  readonly tokenName: string;
  /** Random for each agent process; version 1 agents have none. */
  readonly instance: string | undefined;
  /** Which of the agent's connections this is: it may keep several. */
  readonly slot: number;
  /** When it was registered, in milliseconds since 1970. */
  readonly sinceMs: number;
  /** The targets that its agent serves, by name; undefined if it does not say. */
  targets?: ReadonlyMap<string, AgentTarget> | undefined;
  /** The hostnames that its agent claims and may claim, and the target of each. */
  claims?: ReadonlyMap<string, string> | undefined;
  /** The configuration has changed: what its agent claims is compared with its entry anew. */
  readonly reviewed?: () => void;
  /** Takes back what other relays know of the session: its agent is asked to go to one of them. */
  readonly withdraw?: () => void;
}

/** A target as its agent announces it. */
export interface AgentTarget {
  readonly kind: string;
  /** What the agent puts into `Host` in place of the target's name. */
  readonly host?: string | undefined;
  /** How it learns whom to act for there; absent where it acts for itself alone. */
  readonly impersonate?: string | undefined;
}

/** What tells a session of an agent from its next one. */
export type Connection = Pick<Registration, "instance" | "slot" | "sinceMs">;

/** Finds the session for a request. */
export class Registry {
  readonly #sessions = new Map<string, Registration[]>();
  /**
   * Called when a registered session's agent has said what it serves, which `session.announced` has:
   * once it is registered, and with each change.
   */
  onAnnounced: (registration: Registration) => void = () => {};
  /** Called when a session has come or gone. */
  onChanged: (change: "added" | "removed", registration: Registration) => void = () => {};

  /** Sessions that came or went, counted. */
  changes = 0;

  /** Registered sessions of all clusters. */
  get size(): number {
    let size = 0;
    for (const registrations of this.#sessions.values()) size += registrations.length;
    return size;
  }

  /** All registrations, for draining and metrics. */
  *all(): Generator<Registration> {
    for (const registrations of this.#sessions.values()) yield* registrations;
  }

  /** A cluster's registrations. */
  of(clusterId: string): readonly Registration[] {
    return this.#sessions.get(clusterId) ?? [];
  }

  /**
   * Adds a session, and ends the one that it replaces: the older session of the same connection of
   * the same agent, or, among version 1 agents, which can't be told apart, the older agent's. One that
   * was asked to drain finishes what it has.
   */
  add(registration: Registration): void {
    const { cluster: { id }, instance, slot } = registration;
    const isReplaced = (other: Registration) =>
      other.instance === instance && other.slot === slot && !other.session.isDraining;
    const others = this.#sessions.get(id) ?? [];
    const replaced = others.filter(isReplaced);
    const kept = others.filter((other) => !isReplaced(other));
    this.changes++;
    this.#sessions.set(id, [...kept, registration]);
    for (const other of replaced) this.onChanged("removed", other);
    this.onChanged("added", registration);
    for (const { session } of replaced) {
      session.close(CloseCode.Replaced, "Replaced by a newer session");
    }
  }

  /** The agent of a registered session has said what it serves, for the first time or anew. */
  announced(registration: Registration): void {
    this.onAnnounced(registration);
  }

  /** Removes this very session; a newer one of the same agent stays. */
  remove(registration: Registration): void {
    const { cluster: { id } } = registration;
    this.changes++;
    const known = this.#sessions.get(id) ?? [];
    const left = known.filter((other) => other !== registration);
    if (left.length < known.length) this.onChanged("removed", registration);
    if (left.length > 0) this.#sessions.set(id, left);
    else this.#sessions.delete(id);
  }

  /**
   * Another relay says that it holds a connection of an agent. A session of the same connection that
   * began before, and whose agent does not answer, is what is left of a line that broke in silence:
   * it ends. A session whose agent answers stays, whatever others say, and so does one that was asked
   * to drain: its agent serves it beside the next one.
   */
  heldElsewhere(clusterId: string, { instance, slot, sinceMs }: Connection): void {
    // Version 1 agents can't be told apart.
    if (instance === undefined) return;
    for (const other of this.#sessions.get(clusterId) ?? []) {
      const isOlder = other.instance === instance && other.slot === slot && other.sinceMs < sinceMs;
      const { session } = other;
      if (!isOlder || !session.isSuspect || session.isDraining) continue;
      session.abandon("The agent does not answer, and another relay has it");
    }
  }

  /** Whether any session takes new requests. */
  get isReady(): boolean {
    for (const { session } of this.all()) if (session.takesStreams) return true;
    return false;
  }

  /**
   * The cluster's session with the fewest open streams that takes new ones. One that was asked to
   * drain, or whose agent does not answer its Pings, is taken only if there is no other.
   *
   * A hostname that agents claim is served by those that did; a target, by those that list it, or,
   * if none does, by any, which then refuses it.
   */
  pick(clusterId: string, { except, route }: PickOptions = {}): Registration | undefined {
    const isRefusable = route?.kind === "cluster" || route?.target !== undefined;
    return this.pickServing(clusterId, { except, route }) ??
      (isRefusable ? this.#best(clusterId, except, () => true) : undefined);
  }

  /** As {@link pick}, without agents that are known not to serve the route. */
  pickServing(clusterId: string, { except, route }: PickOptions = {}): Registration | undefined {
    return this.#best(clusterId, except, (candidate) => !route || serves(candidate, route));
  }

  /**
   * Whether a session takes requests of a service: the cluster has `none`, or some, all of whose
   * agents list other targets, and `others` of which would refuse.
   */
  serving(clusterId: string, route: Route): "here" | "others" | "none" {
    if (this.pickServing(clusterId, { route })) return "here";
    return this.pickServing(clusterId) ? "others" : "none";
  }

  /** The hostnames that a cluster's agents claim now. */
  claimed(clusterId: string): readonly string[] {
    const sessions = this.#sessions.get(clusterId) ?? [];
    return [...new Set(sessions.flatMap(({ claims }) => [...claims?.keys() ?? []]))].sort();
  }

  /** Whether any agent of a cluster claims a hostname. */
  isClaimed(clusterId: string, hostname: string): boolean {
    const sessions = this.#sessions.get(clusterId) ?? [];
    return sessions.some(({ claims }) => claims?.has(hostname));
  }

  #best(
    clusterId: string,
    except: Session | undefined,
    fits: (candidate: Registration) => boolean,
  ): Registration | undefined {
    let best: Registration | undefined;
    for (const candidate of this.#sessions.get(clusterId) ?? []) {
      if (candidate.session === except || !candidate.session.takesStreams) continue;
      if (!fits(candidate)) continue;
      if (!best || isBetter(candidate.session, best.session)) best = candidate;
    }
    return best;
  }
}

/** What a session is picked for. */
export interface PickOptions {
  /** A session that has failed this request already. */
  readonly except?: Session | undefined;
  readonly route?: Route | undefined;
}

/** Whether an agent serves a route, as far as it says. One that says nothing serves any target by HTTP. */
export function serves({ claims, cluster, targets }: Registration, route: Route): boolean {
  if (route.kind === "cluster") {
    // Agents of one cluster may differ: one in an app's pod does not serve the API server.
    return !targets || cluster.targetAddr === undefined || targets.has(cluster.targetAddr);
  }
  const { target, transport, hostname } = route;
  if (target === undefined) return claims?.has(hostname) === true;
  return targets ? targets.get(target)?.kind === transport : transport === "http";
}

function isBetter(a: Session, b: Session): boolean {
  if (a.isSuspect !== b.isSuspect) return b.isSuspect;
  if (a.isDraining !== b.isDraining) return b.isDraining;
  return a.openStreams < b.openStreams;
}
