/** Publishes a binding's routes at the relay of its tunnel, and takes off what is not wanted any more. */
import { keyOf, type KubeObject } from "../kube/objects.ts";
import { tunnelBindings } from "./api/crds.ts";
import { isEqual } from "./agent_objects.ts";
import { finalizer } from "./api/schema.ts";
import type { BindingSpec, BindingStatus } from "./api/tunnel_binding.ts";
import { conditionsOf, no, readyOf, unknown, type Verdict, yes } from "./conditions.ts";
import {
  conditionsWithReady,
  type Context,
  isOrphaned,
  setFinalizers,
  titleOf,
  writeStatus,
} from "./context.ts";
import { DnsKeeper, type DnsResult } from "./dns_keeper.ts";
import { type KeptRecord, withIntended } from "./dns/kept_records.ts";
import type { FoundAccess } from "./relay_accesses.ts";
import type { RelayChange } from "./relay_watches.ts";
import { type RelayAccess, RelayRefusal, RelayUnreachable } from "./relay_api.ts";
import type { CompiledBinding, CompiledRoute } from "./route_table.ts";
import { RelayPolicies, type RelayPolicy } from "./relay_policies.ts";
import { idOf, type Tunnel } from "./tunnels.ts";

/** What bindings ask of tunnels. */
export interface TunnelStates {
  registration(tunnelKey: string): Verdict | undefined;
  serves(tunnelKey: string, target: unknown): boolean;
}

type Registered = NonNullable<BindingStatus["registered"]>[number];

/** One service as the relay is to have it. */
interface Wanted {
  readonly registered: Registered;
  readonly policy: RelayPolicy | undefined;
  readonly access: RelayAccess;
  readonly entry: Readonly<Record<string, unknown>>;
}

/** The services that a binding is to have, and what is said of its other routes. */
interface Plan {
  readonly wanted: ReadonlyMap<string, Wanted>;
  readonly verdicts: ReadonlyMap<string, Verdict>;
  /** Services of which nothing can be said now: what is at the relay stays. */
  readonly undecided: ReadonlySet<string>;
}

/** What the relay last answered for a service. */
interface Answer {
  readonly digest: string;
  readonly verdict: Verdict;
  readonly saidMs: number;
  readonly untilMs: number;
}

const refusalMs = 5 * 60_000;
/** A change at the relay that is told so soon after a PUT is that PUT's. */
const ownChangeMs = 5_000;
/** How often what could not be cleaned up is tried again. */
const maxRetryMs = 2_000;

/** Reconciles bindings. */
export class BindingReconciler {
  readonly #context: Context;
  readonly #tunnels: TunnelStates;
  readonly #dns: DnsKeeper;
  readonly #policies: RelayPolicies;
  /** By endpoint and service. */
  readonly #answers = new Map<string, Answer>();

  constructor(context: Context, tunnels: TunnelStates) {
    this.#context = context;
    this.#tunnels = tunnels;
    this.#dns = new DnsKeeper(context);
    this.#policies = new RelayPolicies(context);
  }

  get #retryMs(): number {
    return Math.min(maxRetryMs, this.#context.settings.checkMs);
  }

  /**
   * Somebody has changed a service at a relay: it is put again with the next look.
   *
   * @returns the key of the binding that it belongs to
   */
  changedAtRelay({ endpoint, name: service, type }: RelayChange): string | undefined {
    const isGone = type === "DELETED";
    const key = `${endpoint} ${service}`;
    const known = this.#answers.get(key);
    if (!known || (!isGone && performance.now() - known.saidMs < ownChangeMs)) return undefined;
    this.#answers.delete(key);
    for (const { key, routes } of this.#context.routes().bindings.values()) {
      if (routes.some(({ id }) => id === service)) return key;
    }
    return undefined;
  }

  /** @returns after how many milliseconds the binding wants to be looked at again */
  async reconcile(key: string): Promise<number | undefined> {
    const object = this.#context.world.get("bindings", key);
    if (!object) return undefined;
    if (object.metadata.deletionTimestamp !== undefined) return await this.#finalize(object);
    const compiled = this.#context.routes().bindings.get(key);
    // A compilation is under way, and asks again.
    if (!compiled?.spec || compiled.object.metadata.uid !== object.metadata.uid) return undefined;
    if (compiled.tunnel?.spec?.paused) return undefined;
    return await this.#publish(object, compiled);
  }

  async #publish(object: KubeObject, compiled: CompiledBinding): Promise<number | undefined> {
    const plan = await this.#plan(compiled);
    const before = statusOf(object).registered ?? [];
    const wanted = [...plan.wanted.values()].map(({ registered }) => registered);
    const all = union(before, wanted);
    const dnsPlan = await this.#dns.plan(compiled);
    const records = withIntended(statusOf(object).dns ?? [], dnsPlan.kept);
    // What is about to be at the relay and in DNS is written down first.
    const current = await this.#record(object, all, records);
    const verdicts = new Map(plan.verdicts);
    let again = Infinity;
    for (const [route, want] of plan.wanted) {
      const answer = await this.#put(want);
      verdicts.set(route, answer.verdict);
      again = Math.min(again, Math.max(100, answer.untilMs - performance.now()));
    }
    const others = all.filter((it) => !wanted.some((want) => isSame(want, it)));
    const undecided = others.filter(({ service }) => plan.undecided.has(service));
    const unwanted = others.filter(({ service }) => !plan.undecided.has(service));
    const left = await this.#removeAll(current, this.#withoutRetained(unwanted), wanted);
    if (left.length > 0) again = Math.min(again, this.#retryMs);
    const isRetained = compiled.tunnel !== undefined && this.#isRetained(compiled.tunnel.key);
    const dns = await this.#dns.sync(current, dnsPlan, isRetained ? [] : records);
    again = Math.min(again, dns.againMs);
    await this.#writeStatus(current, compiled, verdicts, [...wanted, ...undecided, ...left], dns);
    return again === Infinity ? undefined : again;
  }

  async #plan({ tunnel, routes, object }: CompiledBinding): Promise<Plan> {
    const wanted = new Map<string, Wanted>();
    const verdicts = new Map<string, Verdict>();
    const undecided = new Set<string>();
    const api = tunnel?.spec?.relay.registration.api;
    const found = tunnel && api ? await this.#context.accesses.find(tunnel) : undefined;
    for (const route of routes) {
      const { spec: { name }, id } = route;
      const decided = this.#obstacle(route, tunnel);
      const delay = decided ? undefined : this.#delay(tunnel!, found!);
      if (decided) verdicts.set(name, decided);
      else if (delay) {
        verdicts.set(name, delay);
        undecided.add(id);
      } else if (found && "access" in found) {
        const policy = route.spec.policy ?? tunnel!.spec!.defaultPolicy;
        const want = await this.#want(route, tunnel!, object, { ...found, policy });
        if ("fault" in want) {
          verdicts.set(name, want.fault);
          // A route whose own policy is impossible must not go on under another one.
          if (want.fault.reason === "RelayUnreachable") undecided.add(id);
        } else wanted.set(name, want);
      }
    }
    return { wanted, verdicts, undecided };
  }

  /** The service of a route, and its own policy if AccessPolicies are about it. */
  async #want(
    route: CompiledRoute,
    tunnel: Tunnel,
    object: KubeObject,
    { access, owner, policy }: { access: RelayAccess; owner: string; policy: string | undefined },
  ): Promise<Wanted | { readonly fault: Verdict }> {
    const own = route.access && await this.#ownPolicy(route, access, this.#ownerOf(owner, object));
    if (own && "fault" in own) return own;
    const registered = { service: route.id, tunnel: tunnel.key, endpoint: access.endpoint };
    return {
      access,
      policy: own,
      registered: { ...registered, ...own && { policy: own.name } },
      entry: this.#entryOf(route, tunnel, { policy: own?.name ?? policy!, owner, object }),
    };
  }

  async #ownPolicy(
    { id, access: rules = [] }: CompiledRoute,
    access: RelayAccess,
    owner: string,
  ): Promise<RelayPolicy | { readonly fault: Verdict }> {
    try {
      return await this.#policies.of(access, id, rules, owner);
    } catch (error) {
      if (error instanceof RelayRefusal) return { fault: refused(error) };
      if (!(error instanceof RelayUnreachable)) throw error;
      return { fault: no("RelayUnreachable", `At ${access.endpoint}: ${error.message}`) };
    }
  }

  /** Why a route is not to be published; undefined if nothing is in its way. */
  #obstacle(
    { spec, accepted, resolved, access }: CompiledRoute,
    tunnel: Tunnel | undefined,
  ): Verdict | undefined {
    if (accepted.status !== "True") return no("NotAccepted", accepted.message);
    if (resolved.status !== "True") return no("NotResolved", resolved.message);
    const { relay: { registration: { api } }, defaultPolicy } = tunnel!.spec!;
    if (!api) {
      return yes("TargetsOnly", "The relay's own configuration says at which hostnames");
    }
    return access === undefined && spec.policy === undefined && defaultPolicy === undefined
      ? no("PolicyMissing", "Set the route's policy, or defaultPolicy of the tunnel")
      : undefined;
  }

  /** Why the relay can't be asked to publish anything now; what it publishes already stays. */
  #delay(tunnel: Tunnel, found: FoundAccess): Verdict | undefined {
    if ("fault" in found) return no(found.fault.reason, found.fault.message);
    const registration = this.#tunnels.registration(tunnel.key);
    if (registration?.status === "True") return undefined;
    return registration
      ? no("TunnelNotRegistered", `The tunnel is not registered: ${registration.message}`)
      : unknown("TunnelNotRegistered", "The tunnel is about to be registered at its relay");
  }

  #entryOf(
    { spec, id }: CompiledRoute,
    tunnel: Tunnel,
    { policy, owner, object }: { policy: string; owner: string; object: KubeObject },
  ): Readonly<Record<string, unknown>> {
    const { responseHeaders } = spec;
    return {
      hostnames: spec.hostnames,
      cluster: idOf(tunnel, this.#context.settings.idPrefix),
      target: id,
      ...spec.protocol === "tcp" && { kind: "tcp" },
      policy,
      ...spec.host === "target" && { host: "target" },
      ...responseHeaders && { headers: responseHeaders },
      owner: this.#ownerOf(owner, object),
    };
  }

  /** Writes down what is or will be at the relay, and puts the finalizer on. */
  async #record(
    object: KubeObject,
    all: readonly Registered[],
    records: readonly KeptRecord[],
  ): Promise<KubeObject> {
    const before = statusOf(object);
    const isKnown = all.every((it) => before.registered?.some((known) => isSame(known, it))) &&
      isEqual(before.dns ?? [], records);
    if (isKnown) return object;
    if (!object.metadata.finalizers?.includes(finalizer)) {
      await setFinalizers(this.#context, tunnelBindings, "bindings", object, [finalizer]);
    }
    const { name, namespace = "", uid = "" } = object.metadata;
    const written = await this.#context.client.apply(tunnelBindings, {
      metadata: { name, namespace, uid },
      status: {
        ...before,
        ...all.length > 0 && { registered: all },
        ...records.length > 0 && { dns: records },
      },
    }, "status");
    this.#context.world.learn("bindings", written);
    return written;
  }

  async #put(
    { access, registered: { service, endpoint }, entry, policy }: Wanted,
  ): Promise<Answer> {
    const key = `${endpoint} ${service}`;
    const digest = this.#context.digest(JSON.stringify([access.token, entry, policy]));
    const last = this.#answers.get(key);
    if (last?.digest === digest && performance.now() < last.untilMs) return last;
    const answer = await this.#ask(access, service, entry, policy);
    const kept = {
      digest,
      verdict: answer.verdict,
      saidMs: performance.now(),
      untilMs: performance.now() + answer.forMs,
    };
    this.#answers.set(key, kept);
    return kept;
  }

  async #ask(
    access: RelayAccess,
    service: string,
    entry: unknown,
    policy: RelayPolicy | undefined,
  ): Promise<{ verdict: Verdict; forMs: number }> {
    const { relays, settings } = this.#context;
    try {
      if (policy) await relays.put(access, "policies", policy.name, policy.entry);
      await relays.put(access, "services", service, entry);
      return { verdict: yes("Programmed"), forMs: settings.resyncMs };
    } catch (error) {
      if (error instanceof RelayRefusal) return { verdict: refused(error), forMs: refusalMs };
      if (!(error instanceof RelayUnreachable)) throw error;
      const verdict = no("RelayUnreachable", `At ${access.endpoint}: ${error.message}`);
      return { verdict, forMs: error.retryAfterMs };
    }
  }

  /** Takes services off their relays. @returns those that are still there */
  async #removeAll(
    object: KubeObject,
    unwanted: readonly Registered[],
    wanted: readonly Registered[] = [],
  ): Promise<readonly Registered[]> {
    const left: Registered[] = [];
    for (const registered of unwanted) {
      const isReplaced = wanted.some((it) =>
        it.service === registered.service && it.endpoint === registered.endpoint
      );
      if (!await this.#remove(object, registered, isReplaced)) left.push(registered);
    }
    return left;
  }

  async #remove(
    object: KubeObject,
    { service, tunnel, endpoint, policy }: Registered,
    isReplaced = false,
  ): Promise<boolean> {
    const { relays } = this.#context;
    const found = await this.#accessTo(tunnel);
    const isThere = found !== undefined && found.access.endpoint === endpoint;
    if (!isThere) return this.#giveUp(object, service, "the relay's token is not there");
    try {
      const owner = this.#ownerOf(found.owner, object);
      // A service that is there under another policy stays, and loses the policy alone.
      if (!isReplaced) await relays.delete(found.access, "services", service, owner);
      if (policy !== undefined) await relays.delete(found.access, "policies", policy, owner);
      this.#answers.delete(`${endpoint} ${service}`);
      return true;
    } catch (error) {
      if (!(error instanceof RelayRefusal) && !(error instanceof RelayUnreachable)) throw error;
      return this.#giveUp(object, service, error.message);
    }
  }

  /** The owner of a binding's services at the relay, which takes at most 253 characters. */
  #ownerOf(tunnelOwner: string, { metadata }: KubeObject): string {
    return `${tunnelOwner}/${this.#context.digest(keyOf(metadata)).slice(0, 32)}`;
  }

  /** A tunnel's access, or the last one if the tunnel is gone. */
  async #accessTo(tunnelKey: string): Promise<{ access: RelayAccess; owner: string } | undefined> {
    const { accesses, tunnel } = this.#context;
    const there = tunnel(tunnelKey);
    if (!there) return accesses.last(tunnelKey);
    const found = await accesses.find(there);
    return "access" in found ? found : accesses.last(tunnelKey);
  }

  /** What can't be cleaned up is let go after a while. @returns whether it is time */
  #giveUp(object: KubeObject, what: string, reason: string): boolean {
    if (object.metadata.deletionTimestamp === undefined) return false;
    if (!isOrphaned(this.#context, object)) return false;
    void this.#context.events.report(tunnelBindings, object, {
      type: "Warning",
      reason: "Orphaned",
      action: "Finalize",
      note: `${what} was left: ${reason}`,
    });
    this.#context.log.warn("What a binding had outside was left", {
      binding: titleOf(tunnelBindings, object),
      name: what,
      reason,
    });
    return true;
  }

  async #finalize(object: KubeObject): Promise<number | undefined> {
    if (!object.metadata.finalizers?.includes(finalizer)) return undefined;
    const { registered = [] } = statusOf(object);
    const left = await this.#removeAll(object, this.#withoutRetained(registered));
    const records = await this.#removeRecords(object);
    if (left.length > 0 || !records) return this.#retryMs;
    await setFinalizers(this.#context, tunnelBindings, "bindings", object, []);
    return undefined;
  }

  /** Takes a binding's records away. @returns whether none is left, or it is time to give up */
  async #removeRecords(object: KubeObject): Promise<boolean> {
    const { dns = [] } = statusOf(object);
    if (this.#isRetained(tunnelKeyOf(object))) return true;
    const left = await this.#dns.removeAll(dns);
    if (left.length === 0) return true;
    return this.#giveUp(object, left[0]!.name, "the name server can't be asked or refuses");
  }

  #withoutRetained(registered: readonly Registered[]): readonly Registered[] {
    return registered.filter(({ tunnel }) => !this.#isRetained(tunnel));
  }

  /** Whether a tunnel that is being deleted leaves what it has at the relay. */
  #isRetained(tunnelKey: string): boolean {
    const tunnel = this.#context.tunnel(tunnelKey);
    return tunnel?.isDeleted === true && tunnel.spec?.deletionPolicy === "Retain";
  }

  async #writeStatus(
    object: KubeObject,
    compiled: CompiledBinding,
    verdicts: ReadonlyMap<string, Verdict>,
    registered: readonly Registered[],
    dns: DnsResult,
  ): Promise<void> {
    const before = statusOf(object);
    const { generation } = compiled.object.metadata;
    const routes = compiled.routes.map((route) => {
      const { spec, accepted, resolved } = route;
      const programmed = this.#programmed(route, compiled.tunnel, verdicts.get(spec.name));
      const known = before.routes?.find(({ name }) => name === spec.name);
      const all = { Accepted: accepted, ResolvedRefs: resolved, Programmed: programmed };
      return {
        name: spec.name,
        urls: spec.hostnames.map((hostname) => urlOf(spec.protocol, hostname)),
        conditions: conditionsOf(all, known?.conditions, generation),
        all,
      };
    });
    const summary = (type: "Accepted" | "ResolvedRefs" | "Programmed"): Verdict => {
      const verdicts = Object.fromEntries(routes.map(({ name, all }) => [name, all[type]]));
      const { status, reason, message } = readyOf(verdicts);
      return status === "True" ? yes(type) : { status, reason, message };
    };
    const parts = {
      Accepted: summary("Accepted"),
      ResolvedRefs: summary("ResolvedRefs"),
      Programmed: summary("Programmed"),
      ...dns.verdict && { DNSReady: dns.verdict },
    };
    await writeStatus(this.#context, tunnelBindings, "bindings", object, {
      ...generation !== undefined && { observedGeneration: generation },
      ...registered.length > 0 && { registered },
      ...dns.kept.length > 0 && { dns: dns.kept },
      hostnames: compiled.spec!.routes.flatMap(({ hostnames }) => hostnames).join(","),
      routes: routes.map(({ all: _, ...route }) => route),
      conditions: conditionsWithReady(parts, object),
    });
  }

  /** Programmed is a route that the relay publishes and all agents serve. */
  #programmed(
    { target }: CompiledRoute,
    tunnel: Tunnel | undefined,
    verdict: Verdict | undefined,
  ): Verdict {
    if (verdict === undefined) return unknown("Pending", "The relay has not been asked yet");
    if (verdict.status !== "True" || !target || !tunnel) return verdict;
    return this.#tunnels.serves(tunnel.key, target)
      ? verdict
      : unknown("Programming", "The agents have not taken the route yet");
  }
}

function statusOf(object: KubeObject): BindingStatus {
  return (object["status"] ?? {}) as BindingStatus;
}

function isSame(one: Registered, other: Registered): boolean {
  return one.service === other.service && one.endpoint === other.endpoint &&
    one.tunnel === other.tunnel && one.policy === other.policy;
}

function union(one: readonly Registered[], other: readonly Registered[]): readonly Registered[] {
  return [...one, ...other.filter((it) => !one.some((known) => isSame(known, it)))];
}

function urlOf(protocol: string, hostname: string): string {
  return protocol === "tcp" ? `tcp://${hostname}` : `https://${hostname}/`;
}

function refused({ status, code, message }: RelayRefusal): Verdict {
  if (status === 409) return no("Conflict", message);
  if (status === 403) return no("HostnameNotPermitted", message);
  if (status === 401) return no("Unauthorized", `The relay does not know the token: ${message}`);
  return no("Refused", code === "" ? message : `${code}: ${message}`);
}

/** The tunnel that a binding names. */
function tunnelKeyOf({ metadata, spec }: KubeObject): string {
  const { kind = "Tunnel", name, namespace = metadata.namespace } = (spec as BindingSpec).tunnelRef;
  return kind === "ClusterTunnel" ? `${kind}/${name}` : `${kind}/${namespace}/${name}`;
}
