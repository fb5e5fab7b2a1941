/** Publishes a binding's routes as services at its tunnel's relay, and deletes unwanted services. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { titleOf } from "../../kube/resources.ts";
import { tunnelBindings } from "../api/crds.ts";
import { finalizer } from "../api/schema.ts";
import type { BindingStatus } from "../api/tunnel_binding.ts";
import { isEqual } from "../applied.ts";
import { holdObject, isOrphaned, releaseObject, reportOrphaned, retryMs } from "../finalizer.ts";
import { conditionsWithReady, writeStatus } from "../object_status.ts";
import { BindingPlans } from "./binding_plan.ts";
import { routesStatus, unreadableVerdict } from "./binding_status.ts";
import type { Verdict } from "../conditions.ts";
import type { Context } from "../context.ts";
import { type KeptRecord, withIntended } from "../dns/kept_records.ts";
import { DnsReconciler, type DnsResult } from "../dns/dns_reconciler.ts";
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
  }

  /** A service has changed at a relay: queues the bindings that own it or wait for its hostnames. */
  changedAtRelay(change: RelayChange): void {
    const services = this.#services.isForeignChange(change) ? [change.name] : [];
    if (change.type === "DELETED") {
      services.push(...this.#services.freed(change.endpoint, change.way));
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
    const object = this.#context.world.get("bindings", key);
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
    const dnsPlan = await this.#dns.plan(compiled);
    const records = withIntended(statusOf(object).dns ?? [], dnsPlan.kept);
    // The status records services and DNS records before they are created.
    const current = await this.#record(object, all, records);
    const verdicts = new Map(plan.verdicts);
    let again = plan.againMs;
    for (const [route, want] of plan.wanted) {
      const { verdict, untilMs } = await this.#services.put(want);
      if (!verdicts.has(route)) verdicts.set(route, verdict);
      again = Math.min(again, Math.max(100, untilMs - performance.now()));
    }
    const others = all.filter((it) => !wanted.some((want) => isSame(want, it)));
    const isUndecided = (it: Registered) =>
      plan.undecided.has(it.service) || this.#services.isWaiting(it);
    const undecided = others.filter(isUndecided);
    const unwanted = others.filter((it) => !isUndecided(it));
    const isTaken = [...verdicts.values()].some(({ reason }) => reason === "Conflict");
    const served = compiled.routes.flatMap(({ publication }) =>
      publication?.isServed ? publication.service : []
    );
    const left = await this.#removeAll(current, this.#withoutRetained(unwanted), {
      wanted,
      drains: (service) => !isTaken && !served.includes(service),
    });
    if (left.length > 0) again = Math.min(again, retryMs(this.#context));
    const isRetained = compiled.tunnel !== undefined && this.#isRetained(compiled.tunnel.key);
    const dns = await this.#dns.sync(current, dnsPlan, isRetained ? [] : records);
    again = Math.min(again, dns.againMs);
    await this.#writeStatus(current, compiled, verdicts, [...wanted, ...undecided, ...left], dns);
    return again === Infinity ? undefined : again;
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
    this.#context.world.learn("bindings", written);
    return written;
  }

  /** Deletes services at relays. @returns those that could not be deleted */
  async #removeAll(
    object: KubeObject,
    unwanted: readonly Registered[],
    { wanted = [], drains }: {
      readonly wanted?: readonly Registered[];
      /** Whether requests in flight may finish first. */
      readonly drains: (service: string) => boolean;
    },
  ): Promise<readonly Registered[]> {
    const left: Registered[] = [];
    const isAwaited = this.#isAwaited(object);
    for (const registered of unwanted) {
      const isReplaced = wanted.some((it) =>
        it.service === registered.service && it.endpoint === registered.endpoint
      );
      if (!isReplaced && this.#isKept(object, registered)) continue;
      const mayDrain = !isAwaited && drains(registered.service);
      const fault = await this.#services.remove(object, registered, {
        isReplaced,
        drains: mayDrain,
      });
      const isGone = fault === undefined || this.#giveUp(object, registered.service, fault);
      if (isGone) this.#lookAgain(this.#bindingsOf(this.#services.freed(registered.endpoint)));
      if (!isGone) left.push(registered);
    }
    return left;
  }

  /**
   * Whether another binding has a service too, and takes it off when it does not want it any more. One
   * that has a part in it, and does not want it, takes it off itself.
   */
  #isKept({ metadata }: KubeObject, { service, endpoint }: Registered): boolean {
    const isOf = ({ routes }: CompiledBinding) =>
      routes.some(({ publication }) => publication?.service === service);
    const { bindings } = this.#context.routes();
    const own = bindings.get(keyOf(metadata));
    // What is being deleted may still be in the table.
    if (own && metadata.deletionTimestamp === undefined && isOf(own)) return false;
    return [...bindings.values()].some((it) => {
      if (it === own || !isOf(it)) return false;
      const { key } = it;
      const other = this.#context.world.get("bindings", key);
      return other !== undefined && other.metadata.deletionTimestamp === undefined &&
        (statusOf(other).registered ?? []).some((it) =>
          it.service === service && it.endpoint === endpoint
        );
    });
  }

  /** Whether another binding waits for hostnames that this one had. */
  #isAwaited(object: KubeObject): boolean {
    const own = keyOf(object.metadata);
    const hostnames = new Set((statusOf(object).hostnames ?? "").split(","));
    return [...this.#context.routes().bindings.values()].some(({ key, routes }) =>
      key !== own &&
      routes.some(({ accepted, spec }) =>
        accepted.status === "True" && spec.hostnames.some((name) => hostnames.has(name))
      )
    );
  }

  /** Gives clean-up up after `orphanMs`. @returns whether it has */
  #giveUp(object: KubeObject, what: string, reason: string): boolean {
    if (object.metadata.deletionTimestamp === undefined) return false;
    if (!isOrphaned(this.#context, object)) return false;
    void reportOrphaned(this.#context.events, tunnelBindings, object, {
      action: "Finalize",
      note: `${what} was left: ${reason}`,
    });
    this.#context.log.warn("A binding's services and records were left behind", {
      binding: titleOf(tunnelBindings, object),
      name: what,
      reason,
    });
    return true;
  }

  async #finalize(object: KubeObject): Promise<number | undefined> {
    if (!object.metadata.finalizers?.includes(finalizer)) return undefined;
    const { registered = [] } = statusOf(object);
    const removed = this.#withoutRetained(registered);
    const left = await this.#removeAll(object, removed, { drains: () => true });
    const againMs = Math.min(
      left.length > 0 ? retryMs(this.#context) : Infinity,
      await this.#removeRecords(object),
    );
    if (againMs < Infinity) return againMs;
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
    return fault && this.#giveUp(object, fault.name, fault.reason) ? Infinity : againMs;
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

function statusOf(object: KubeObject): BindingStatus {
  return (object["status"] ?? {}) as BindingStatus;
}
