/** Publishes a binding's routes as services at its tunnel's relay, and deletes unwanted services. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { tunnelBindings } from "../api/crds.ts";
import { finalizer } from "../api/schema.ts";
import { isEqual } from "../applied.ts";
import { holdObject, keepsDependents, releaseObject, retryMs } from "../finalizer.ts";
import { conditionsWithReady, writeStatus } from "../object_status.ts";
import { type BindingPlan, BindingPlans } from "./binding_plan.ts";
import { routesStatus, statusOf, unreadableVerdict } from "./binding_status.ts";
import { isGivenUp } from "./orphaned_binding.ts";
import { ServiceRemoval } from "./service_removal.ts";
import { no, unknown, type Verdict } from "../conditions.ts";
import type { Context } from "../context.ts";
import { type KeptRecord, withIntended } from "../dns/kept_records.ts";
import { DnsReconciler, type DnsResult } from "../dns/dns_reconciler.ts";
import { removeEndpoint } from "../dns/endpoint_reconciler.ts";
import { isSame, type Registered, RelayServices, union } from "./relay_services.ts";
import type { RelayChange } from "../relay/relay_watches.ts";
import type { CompiledBinding } from "../routes/route_table.ts";
import { boundTunnelKey } from "../tunnel.ts";

/** What bindings ask of tunnels. */
export interface TunnelStates {
  registration(tunnelKey: string): Verdict | undefined;
  serves(tunnelKey: string, target: unknown): boolean;
}

/** Queues bindings for reconciliation, by their keys. */
export type LookAgain = (bindingKeys: Iterable<string>) => void;

/** Reconciles bindings. */
export class BindingReconciler {
  readonly #context: Context;
  readonly #tunnels: TunnelStates;
  readonly #dns: DnsReconciler;
  readonly #plans: BindingPlans;
  readonly #services: RelayServices;
  readonly #removal: ServiceRemoval;
  readonly #lookAgain: LookAgain;

  constructor(context: Context, tunnels: TunnelStates, lookAgain: LookAgain) {
    this.#context = context;
    this.#tunnels = tunnels;
    this.#lookAgain = lookAgain;
    this.#dns = new DnsReconciler(context, {
      settled: lookAgain,
      freed: (hostname) => lookAgain(this.#bindingsAt(hostname)),
    });
    this.#plans = new BindingPlans(context, (tunnelKey) => tunnels.registration(tunnelKey));
    this.#services = new RelayServices(context);
    this.#removal = new ServiceRemoval(
      context,
      this.#services,
      (services) => lookAgain(this.#bindingsOf(services)),
    );
  }

  /** A service has changed at a relay: queues the bindings that own it or wait for its hostnames. */
  changedAtRelay(change: RelayChange): void {
    const services = this.#services.isForeignChange(change) ? [change.name] : [];
    if (change.type === "DELETED") {
      services.push(...this.#services.freed(change.endpoint, change.connection));
    }
    this.#lookAgain(this.#bindingsOf(services));
  }

  #bindingsOf(services: readonly string[]): string[] {
    if (services.length === 0) return [];
    return [...this.#context.routes().bindings.values()]
      .filter(({ routes }) =>
        routes.some(({ publication }) => publication && services.includes(publication.service))
      )
      .map(({ key }) => key);
  }

  #bindingsAt(hostname: string): string[] {
    return [...this.#context.routes().bindings.values()]
      .filter(({ routes }) => routes.some(({ spec }) => spec.hostnames.includes(hostname)))
      .map(({ key }) => key);
  }

  /** @returns after how many milliseconds the binding wants to be looked at again */
  async reconcile(key: string): Promise<number | undefined> {
    const object = this.#context.caches.get("bindings", key);
    if (!object) return undefined;
    if (object.metadata.deletionTimestamp !== undefined) return await this.#finalize(object);
    const compiled = this.#context.routes().bindings.get(key);
    // A compilation is under way, and asks again.
    if (!compiled || compiled.object.metadata.uid !== object.metadata.uid) return undefined;
    if (!compiled.spec) return await this.#reportUnreadable(object, compiled);
    if (compiled.tunnel?.spec?.paused && !compiled.tunnel.isDeleted) return undefined;
    return await this.#publish(object, compiled);
  }

  /** Reports a spec that can't be parsed; what clean-up needs stays in the status. */
  async #reportUnreadable(object: KubeObject, compiled: CompiledBinding): Promise<undefined> {
    const { generation } = object.metadata;
    if (compiled.object.metadata.generation !== generation) return;
    const { registered, dns, hostnames } = statusOf(object);
    await writeStatus(this.#context, tunnelBindings, "bindings", object, {
      ...generation !== undefined && { observedGeneration: generation },
      ...registered && { registered },
      ...dns && { dns },
      ...hostnames !== undefined && { hostnames },
      conditions: conditionsWithReady({ Accepted: unreadableVerdict(object) }, object),
    });
  }

  async #publish(object: KubeObject, compiled: CompiledBinding): Promise<number | undefined> {
    const plan = await this.#plans.of(compiled);
    const before = statusOf(object).registered ?? [];
    // Several routes may have one service.
    const services = [...plan.wanted.values()].map(({ registered }) => registered);
    const wanted = [...new Map(services.map((it) => [it.service, it])).values()];
    const all = union(before, wanted);
    const { dns: known = [] } = statusOf(object);
    // The status records services and DNS records before they are created.
    const withServices = await this.#record(object, all, known);
    const { verdicts, againMs } = await this.#putAll(plan);
    const dnsPlan = await this.#dns.plan(compiled, known, untaken(compiled, verdicts));
    const records = withIntended(known, dnsPlan.kept);
    const current = await this.#record(withServices, all, records);
    const others = all.filter((it) => !wanted.some((want) => isSame(want, it)));
    const isUndecided = (it: Registered) =>
      plan.undecided.has(it.service) || this.#services.isWaiting(it);
    const undecided = others.filter(isUndecided);
    const unwanted = others.filter((it) => !isUndecided(it));
    const isTaken = [...verdicts.values()].some(({ reason }) => reason === "Conflict");
    const served = compiled.routes.flatMap(({ publication }) =>
      publication?.isServed ? publication.service : []
    );
    const left = await this.#removal.removeAll(current, this.#withoutRetained(unwanted), {
      wanted,
      drains: (service) => !isTaken && !served.includes(service),
    });
    const isRetained = compiled.tunnel !== undefined && this.#isRetained(compiled.tunnel.key);
    const dns = await this.#dns.sync(current, dnsPlan, isRetained ? [] : records);
    await this.#writeStatus(current, compiled, verdicts, [...wanted, ...undecided, ...left], dns);
    const leftMs = left.length > 0 ? retryMs(this.#context) : Infinity;
    const again = Math.min(againMs, leftMs, dns.againMs);
    return again === Infinity ? undefined : again;
  }

  /** Puts a plan's services at the relay. */
  async #putAll(
    plan: BindingPlan,
  ): Promise<{ readonly verdicts: ReadonlyMap<string, Verdict>; readonly againMs: number }> {
    const verdicts = new Map(plan.verdicts);
    let { againMs } = plan;
    for (const [route, want] of plan.wanted) {
      const { verdict, untilMs } = await this.#services.put(want);
      if (!verdicts.has(route)) verdicts.set(route, verdict);
      againMs = Math.min(againMs, Math.max(100, untilMs - performance.now()));
    }
    return { verdicts, againMs };
  }

  /** Records what is or will be outside the cluster, and adds the finalizer. */
  async #record(
    object: KubeObject,
    all: readonly Registered[],
    records: readonly KeptRecord[],
  ): Promise<KubeObject> {
    const before = statusOf(object);
    const isKnown = all.every((it) => before.registered?.some((known) => isSame(known, it))) &&
      isEqual(before.dns ?? [], records);
    const isOutside = all.length > 0 || records.length > 0;
    // A drain may have taken it off, before the operator was installed again.
    if (isOutside && !object.metadata.finalizers?.includes(finalizer)) {
      await holdObject(this.#context, tunnelBindings, "bindings", object);
    }
    if (isKnown) return object;
    const { name, namespace = "", uid = "" } = object.metadata;
    const written = await this.#context.client.apply(tunnelBindings, {
      metadata: { name, namespace, uid },
      status: {
        ...before,
        ...all.length > 0 && { registered: all },
        ...records.length > 0 && { dns: records },
      },
    }, "status");
    this.#context.caches.learn("bindings", written);
    return written;
  }

  async #finalize(object: KubeObject): Promise<number | undefined> {
    if (!object.metadata.finalizers?.includes(finalizer)) return undefined;
    const { registered = [] } = statusOf(object);
    const removed = this.#withoutRetained(registered);
    const left = await this.#removal.removeAll(object, removed, { drains: () => true });
    const againMs = Math.min(
      left.length > 0 ? retryMs(this.#context) : Infinity,
      await this.#removeRecords(object),
    );
    if (againMs < Infinity) return againMs;
    if (!keepsDependents(object)) await removeEndpoint(this.#context, object);
    await releaseObject(this.#context.client, tunnelBindings, object);
    return undefined;
  }

  /**
   * Deletes a binding's DNS records.
   *
   * @returns after how many milliseconds to try again; infinite if none is left or clean-up has timed out
   */
  async #removeRecords(object: KubeObject): Promise<number> {
    const { dns = [] } = statusOf(object);
    if (this.#isRetained(boundTunnelKey(object))) return Infinity;
    const { left, fault, againMs } = await this.#dns.removeAll(dns, keyOf(object.metadata));
    if (left.length === 0) return Infinity;
    const isOver = fault && isGivenUp(this.#context, object, fault.name, fault.reason);
    return isOver ? Infinity : againMs;
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
    const { generation } = compiled.object.metadata;
    const { routes, summary } = routesStatus(
      compiled,
      statusOf(object),
      verdicts,
      (tunnelKey, target) => this.#tunnels.serves(tunnelKey, target),
    );
    const parts = { ...summary, ...dns.verdict && { DNSReady: dns.verdict } };
    await writeStatus(this.#context, tunnelBindings, "bindings", object, {
      ...generation !== undefined && { observedGeneration: generation },
      ...registered.length > 0 && { registered },
      ...dns.kept.length > 0 && { dns: dns.kept },
      hostnames: compiled.spec!.routes.flatMap(({ hostnames }) => hostnames).join(","),
      routes,
      conditions: conditionsWithReady(parts, object),
    });
  }
}

/** Hostnames that the relay has not taken, with the verdict on their records. */
function untaken(
  { routes }: CompiledBinding,
  verdicts: ReadonlyMap<string, Verdict>,
): ReadonlyMap<string, Verdict> {
  const found = new Map<string, Verdict>();
  for (const { spec } of routes) {
    const { status = "True", reason = "" } = verdicts.get(spec.name) ?? {};
    if (status === "True") continue;
    const isRefused = reason === "HostnameNotPermitted" || reason === "Conflict";
    for (const name of spec.hostnames) {
      found.set(
        name,
        isRefused
          ? no("Refused", `${name} gets no record: the relay refuses the hostname`)
          : unknown("Pending", `${name} gets a record when the relay has taken the hostname`),
      );
    }
  }
  return found;
}
