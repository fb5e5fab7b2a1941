/** The tunnels' controller: watches the cluster, compiles routes, and queues work for the reconcilers. */
import { untilAborted } from "../kube/delay.ts";
import { EventRecorder } from "../kube/events.ts";
import { isStatusChange, keyOf, type KubeObject, partsOf } from "../kube/objects.ts";
import type { WorkQueue } from "../kube/work_queue.ts";
import { AccessPolicies } from "./access_policies/access_policies.ts";
import { LastMade } from "./agents/last_made.ts";
import { tunnelKeyOfLabels } from "./agents/agent_metadata.ts";
import { clusterTunnels, tunnels } from "./api/crds.ts";
import { registeredOf } from "./api/tunnel_binding.ts";
import { BindingReconciler } from "./bindings/binding_reconciler.ts";
import { cachedTunnel } from "./cached_tunnels.ts";
import { ChangedKeys } from "./changed_keys.ts";
import type { Context, OperatorSettings } from "./context.ts";
import type { Controller, ControllerOptions } from "./controller.ts";
import type { OperatorStats } from "./metrics.ts";
import { observedQueue } from "./observed_queue.ts";
import { needsCredentials } from "./needed_credentials.ts";
import { RelayAccesses } from "./relay/relay_accesses.ts";
import type { Cloudflare } from "./dns/cloudflare.ts";
import type { Rfc2136 } from "./dns/rfc2136.ts";
import { type RelayChange, RelayWatches } from "./relay/relay_watches.ts";
import { ServiceAnnotations, serviceOfBinding } from "./bindings/service_annotations.ts";
import type { ProbeTargets } from "./agents/route_delivery.ts";
import { RouteCompiler } from "./routes/route_compiler.ts";
import { TunnelReconciler } from "./tunnels/tunnel_reconciler.ts";
import { type Tunnel, tunnelKey } from "./tunnel.ts";
import { Caches, type WatchedKind } from "./caches.ts";

/** What an {@link Operator} is made from. */
export interface OperatorOptions extends ControllerOptions {
  readonly settings: OperatorSettings;
  readonly probe: ProbeTargets;
  /** What is wrong with the text of a CA, as a relative clause; undefined if agents can use it. */
  readonly caFault: (text: string) => string | undefined;
  readonly dns: Rfc2136;
  readonly cloudflare: Cloudflare;
}

/** Controls Tunnels, ClusterTunnels, TunnelBindings and AccessPolicies. */
export class Operator implements Controller {
  readonly #options: OperatorOptions;
  readonly #caches: Caches;
  readonly #queue: WorkQueue;
  readonly #context: Context;
  readonly #tunnelReconciler: TunnelReconciler;
  readonly #bindings: BindingReconciler;
  readonly #annotations: ServiceAnnotations;
  readonly #policies: AccessPolicies;
  readonly #compiler: RouteCompiler;
  readonly #changedKeys: ChangedKeys;
  readonly #watches: RelayWatches;
  /** The version of the accesses that are watched; -1 before the first. */
  #watched = -1;
  #isActing = false;
  #hasStarted = false;

  constructor(options: OperatorOptions) {
    this.#options = options;
    const { client, digest, log, metrics, firstBackoffMs } = options;
    this.#caches = new Caches({
      ...{ client, log, metrics },
      watchNamespaces: options.watchNamespaces,
      changed: (kind, after, before) => this.#changed(kind, after, before),
      timing: options.cacheTiming,
    });
    this.#context = this.#contextOf(options);
    this.#compiler = new RouteCompiler({
      context: this.#context,
      caFault: options.caFault,
      compiled: () => this.#compiled(),
    });
    this.#watches = new RelayWatches({
      fetch: options.watchRelay,
      changed: (change) => this.#changedAtRelay(change),
      ...{ log, firstBackoffMs },
    });
    this.#tunnelReconciler = new TunnelReconciler({
      context: this.#context,
      probe: options.probe,
      newToken: options.newToken,
      served: () => this.#compiler.soon(),
    });
    this.#bindings = new BindingReconciler(
      this.#context,
      this.#tunnelReconciler,
      (keys) => this.#addBindings(keys),
    );
    this.#annotations = new ServiceAnnotations(this.#context);
    this.#policies = new AccessPolicies(this.#context);
    this.#changedKeys = new ChangedKeys({
      ...{ digest, states: this.#tunnelReconciler, policies: this.#policies },
    });
    this.#queue = observedQueue({
      reconcile: (kind, name) => this.#reconcile(kind, name),
      ...{ log, metrics, firstBackoffMs },
    });
  }

  #contextOf(
    { client, relays, settings, digest, log, instance, dns, cloudflare }: OperatorOptions,
  ): Context {
    return {
      ...{ client, relays, settings, digest, log, dns, cloudflare },
      caches: this.#caches,
      lastMade: new LastMade(),
      accesses: new RelayAccesses({
        ...{ client, namespace: settings.namespace, digest, log },
        isNeeded: (namespace) => needsCredentials(this.#caches, namespace),
      }),
      events: new EventRecorder({ client, controller: "culvert.dev/operator", instance, log }),
      routes: () => this.#compiler.table,
      tunnel: (key) => this.#compiler.tunnels.get(key),
    };
  }

  #addBindings(keys: Iterable<string>): void {
    // Whoever acts next looks at all of them.
    if (!this.#isActing) return;
    for (const key of keys) this.#queue.add(`binding:${key}`);
  }

  /** Keys that wait to be worked on. */
  get depth(): number {
    return this.#queue.depth;
  }

  /** Keys that wait because their namespace has its share of the workers. */
  get heldBack(): number {
    return this.#queue.heldBack;
  }

  /** How many of each kind there are, and how many records wait for Cloudflare. */
  get counts(): Pick<OperatorStats, "tunnels" | "bindings" | "cloudflareRecords"> {
    const { tunnels, table } = this.#compiler;
    const cloudflareRecords = this.#options.cloudflare.waiting;
    return { tunnels: tunnels.size, bindings: table.bindings.size, cloudflareRecords };
  }

  /** Kinds that have not been listed yet. */
  get unlisted(): readonly string[] {
    return this.#caches.unlisted;
  }

  /** Follows the cluster until the signal is aborted; changes nothing. */
  async watch(signal: AbortSignal): Promise<void> {
    await this.#caches.run(signal);
  }

  /** Reconciles until the signal is aborted; only the replica that leads may run it. */
  async act(signal: AbortSignal): Promise<void> {
    // A kind that has not been listed yet must not count as empty.
    await this.#caches.synced(signal);
    if (signal.aborted) return;
    this.#isActing = true;
    this.#context.accesses.begin();
    this.#context.lastMade.begin();
    this.#changedKeys.reset();
    this.#hasStarted = false;
    this.#compiler.start();
    for (const service of this.#caches.values("services")) this.#addService(service);
    for (const binding of this.#caches.values("bindings")) this.#addOwningService(binding);
    await untilAborted(signal);
    this.#isActing = false;
    this.#compiler.stop();
    this.#watched = -1;
    await Promise.all([this.#queue.stop(), this.#watches.stop()]);
  }

  /** The newest state of a Tunnel; one that the caches lack is read from the API server. */
  async findTunnel(namespace: string, name: string): Promise<KubeObject | undefined> {
    const known = this.#caches.get("tunnels", keyOf({ namespace, name }));
    return known ?? await this.#options.client.find(tunnels, { namespace, name });
  }

  /** Deletes the credentials that were kept to clean up after a namespace's objects. */
  async forget(namespace: string): Promise<void> {
    await this.#context.accesses.forgetKept(namespace);
  }

  /** Whether no work is queued, running or due; for tests. */
  get isSettled(): boolean {
    return this.#hasStarted && !this.#compiler.isDue && this.#queue.isIdle;
  }

  #changed(kind: WatchedKind, after: KubeObject | undefined, before: KubeObject | undefined): void {
    if (!this.#isActing) return;
    const object = (after ?? before)!;
    switch (kind) {
      case "tunnels":
      case "clusterTunnels": {
        const key = tunnelKey(kind === "tunnels" ? tunnels : clusterTunnels, object.metadata);
        if (!isStatusChange(after, before)) this.#queue.add(`tunnel:${key}`);
        return this.#compiler.soon();
      }
      case "bindings":
        this.#addOwningService(object);
        // Finalizing does not need a new compilation.
        if (object.metadata.deletionTimestamp !== undefined) this.#addBinding(object);
        if (isStatusChange(after, before)) return;
        return this.#compiler.soon();
      case "policies":
        if (isStatusChange(after, before)) return;
        return this.#compiler.soon();
      case "services":
        this.#addService(object);
        if (annotations(after) !== annotations(before)) {
          this.#queue.add(`service:${keyOf(object.metadata)}`);
        }
        return this.#compiler.soon();
      case "namespaces":
        return this.#compiler.soon();
      case "dnsEndpoints": {
        const owner = object.metadata.ownerReferences?.[0];
        if (owner) this.#queue.add(`binding:${object.metadata.namespace}/${owner.name}`);
        return;
      }
      default:
        return this.#addTunnelOf(object);
    }
  }

  /** Watches the relays of all tunnels with their current credentials. */
  #followRelays(): void {
    const { accesses } = this.#context;
    if (!this.#isActing || this.#watched === accesses.version) return;
    this.#watched = accesses.version;
    this.#watches.follow(accesses.all());
  }

  #changedAtRelay(change: RelayChange): void {
    if (!this.#isActing || change.kind === "policies") return;
    if (change.kind === "services") {
      return this.#bindings.changedAtRelay(change);
    }
    for (const key of this.#tunnelReconciler.changedAtRelay(change)) {
      this.#queue.add(`tunnel:${key}`);
    }
  }

  /** Objects that are made for a tunnel name it in their labels. */
  #addTunnelOf({ metadata }: KubeObject): void {
    const key = tunnelKeyOfLabels(metadata);
    if (key !== undefined) this.#queue.add(`tunnel:${key}`);
  }

  #addService(service: KubeObject): void {
    const { annotations = {}, namespace, name } = service.metadata;
    if (annotations["culvert.dev/tunnel"] !== undefined) {
      this.#queue.add(`service:${namespace}/${name}`);
    }
  }

  #addOwningService(binding: KubeObject): void {
    const service = serviceOfBinding(binding);
    if (service !== undefined) this.#queue.add(`service:${service}`);
  }

  #addBinding({ metadata }: KubeObject): void {
    this.#queue.add(`binding:${keyOf(metadata)}`);
  }

  /** Queues what has changed since the last compilation. */
  #compiled(): void {
    const { tunnels, table } = this.#compiler;
    const inUse = new Set(
      [...registeredOf(this.#caches.values("bindings"))].map((it) => it.tunnel),
    );
    this.#context.accesses.keepOnly((key) => tunnels.has(key) || inUse.has(key));
    this.#followRelays();
    for (const key of this.#changedKeys.next({ tunnels, table })) this.#queue.add(key);
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.#queue.start();
  }

  async #reconcile(kind: string, name: string): Promise<number | undefined> {
    if (this.#options.isDraining && this.#isLeftAlone(kind, name)) return undefined;
    if (kind === "binding") return await this.#reconcileBinding(name);
    if (kind === "policy") return await this.#policies.reconcile(name);
    if (kind === "service") return await this.#annotations.reconcile(name);
    const tunnel = this.#latest(name);
    if (!tunnel) {
      this.#tunnelReconciler.forget(name);
      await this.#releaseOf(name.slice(name.indexOf("/") + 1));
      return undefined;
    }
    const before = this.#tunnelReconciler.registration(name)?.reason;
    const again = await this.#tunnelReconciler.reconcile(tunnel);
    this.#followRelays();
    // The tunnel's bindings depend on its registration.
    if (before !== this.#tunnelReconciler.registration(name)?.reason) this.#compiler.soon();
    return again;
  }

  async #reconcileBinding(key: string): Promise<number | undefined> {
    const again = await this.#bindings.reconcile(key);
    if (!this.#caches.get("bindings", key)) await this.#releaseOf(key);
    return again;
  }

  /** Lets go of the credentials that only this deleted object needed. */
  async #releaseOf(key: string): Promise<void> {
    const { namespace } = partsOf(key);
    if (namespace !== undefined) await this.#context.accesses.release(namespace);
  }

  /** A drain reconciles only objects that are being deleted. */
  #isLeftAlone(kind: string, name: string): boolean {
    if (kind !== "binding" && kind !== "tunnel") return true;
    const object = kind === "binding"
      ? this.#caches.get("bindings", name)
      : this.#latest(name)?.object;
    return object !== undefined && object.metadata.deletionTimestamp === undefined;
  }

  /** A tunnel as the caches have it now, which may be newer than the last compilation. */
  #latest(key: string): Tunnel | undefined {
    return cachedTunnel(this.#caches, key, this.#options.settings.namespace);
  }
}

function annotations(service: KubeObject | undefined): string {
  return JSON.stringify(service?.metadata.annotations ?? {});
}
