/** The operator: follows what is in the cluster, compiles routes, and has reconcilers do the rest. */
import type { CacheTiming } from "../kube/cache.ts";
import type { KubeClient } from "../kube/client.ts";
import { untilAborted } from "../kube/delay.ts";
import { EventRecorder } from "../kube/events.ts";
import { keyOf, type KubeObject, partsOf } from "../kube/objects.ts";
import type { WorkQueue } from "../kube/work_queue.ts";
import type { Log } from "../log.ts";
import { AccessPolicies } from "./access_policies/access_policies.ts";
import { clusterTunnels, tunnels } from "./api/crds.ts";
import { tunnelLabel } from "./api/schema.ts";
import type { TunnelStatus } from "./api/tunnel.ts";
import { type BindingStatus, registeredOf } from "./api/tunnel_binding.ts";
import type { Digest } from "./digest.ts";
import { BindingNamespaces } from "./routes/binding_namespaces.ts";
import { BindingReconciler } from "./bindings/binding_reconciler.ts";
import { type Serves, servesRoute } from "./bindings/binding_status.ts";
import type { Context, OperatorSettings } from "./context.ts";
import { NamedTexts } from "./routes/named_texts.ts";
import { observedQueue, type OperatorObserver } from "./observed_queue.ts";
import { RelayAccesses } from "./relay/relay_accesses.ts";
import type { Cloudflare } from "./dns/cloudflare.ts";
import type { Rfc2136 } from "./dns/rfc2136.ts";
import type { RelayApi, RelayFetch } from "./relay/relay_api.ts";
import { type RelayChange, RelayWatches } from "./relay/relay_watches.ts";
import { type CompiledBinding, compileRoutes, type RouteTable } from "./routes/route_table.ts";
import {
  caNotRead,
  caUnreadable,
  credentialNotRead,
  credentialUnreadable,
  readCa,
  readCredential,
} from "./routes/route_texts.ts";
import { ServiceAnnotations, serviceOfBinding } from "./bindings/service_annotations.ts";
import type { ProbeTargets } from "./agents/route_delivery.ts";
import { TunnelReconciler } from "./tunnels/tunnel_reconciler.ts";
import { readTunnel, type Tunnel, tunnelKey } from "./tunnel.ts";
import { type Followed, World } from "./world.ts";

/** What an operator is made from. */
export interface OperatorOptions {
  readonly client: KubeClient;
  readonly relays: RelayApi;
  /** Sends requests to relays that are answered for as long as they are up. */
  readonly watchRelay: RelayFetch;
  readonly settings: OperatorSettings;
  readonly watchNamespaces: readonly string[];
  readonly digest: Digest;
  readonly newToken: () => string;
  readonly probe: ProbeTargets;
  /** What is wrong with the text of a CA, as a relative clause; undefined if agents can use it. */
  readonly caFault: (text: string) => string | undefined;
  readonly dns: Rfc2136;
  readonly cloudflare: Cloudflare;
  /** Whether only objects that are being deleted are reconciled, and nothing new is created. */
  readonly isDraining?: boolean;
  /** Names this replica in Events. */
  readonly instance: string;
  readonly log: Log;
  readonly metrics?: OperatorObserver;
  readonly cacheTiming?: CacheTiming;
  readonly firstBackoffMs?: number;
}

/** Changes that come in this time are compiled together: at most five tables a second. */
const compileMs = 200;

/** One operator. */
export class Operator {
  readonly #options: OperatorOptions;
  readonly #world: World;
  readonly #queue: WorkQueue;
  readonly #context: Context;
  readonly #tunnelReconciler: TunnelReconciler;
  readonly #bindings: BindingReconciler;
  readonly #annotations: ServiceAnnotations;
  readonly #policies: AccessPolicies;
  readonly #namespaces: BindingNamespaces;
  readonly #cas: NamedTexts;
  readonly #credentials: NamedTexts;
  readonly #watches: RelayWatches;
  /** Of the accesses that are watched. */
  #watched = -1;
  #tunnels = new Map<string, Tunnel>();
  #table: RouteTable = { bindings: new Map(), tunnels: new Map() };
  /** What each binding and each tunnel was last asked to be. */
  #prints = new Map<string, string>();
  #compileTimer: ReturnType<typeof setTimeout> | undefined;
  #isActing = false;
  #hasStarted = false;

  constructor(options: OperatorOptions) {
    this.#options = options;
    const { client, relays, settings, digest, log, instance, metrics, cacheTiming } = options;
    this.#world = new World({
      client,
      watchNamespaces: options.watchNamespaces,
      changed: (kind, after, before) => this.#changed(kind, after, before),
      log,
      ...metrics && { metrics },
      ...cacheTiming && { timing: cacheTiming },
    });
    this.#context = {
      ...{ client, relays, settings, digest, log },
      dns: options.dns,
      cloudflare: options.cloudflare,
      world: this.#world,
      accesses: new RelayAccesses({
        ...{ client, namespace: settings.namespace, digest, log },
        isNeeded: (namespace) => this.#needsKept(namespace),
      }),
      events: new EventRecorder({ client, controller: "culvert.dev/operator", instance, log }),
      routes: () => this.#table,
      tunnel: (key) => this.#tunnels.get(key),
    };
    const changed = () => this.#compileSoon();
    this.#namespaces = new BindingNamespaces({ context: this.#context, changed });
    this.#cas = new NamedTexts({
      ...{ settings, changed, unread: caNotRead, unreadable: caUnreadable },
      read: (path) => readCa(client, path, options.caFault),
    });
    this.#credentials = new NamedTexts({
      ...{ settings, changed, unread: credentialNotRead, unreadable: credentialUnreadable },
      read: (path) => readCredential(client, path),
    });
    this.#watches = new RelayWatches({
      fetch: options.watchRelay,
      changed: (change) => this.#changedAtRelay(change),
      log,
      ...options.firstBackoffMs !== undefined && { firstBackoffMs: options.firstBackoffMs },
    });
    this.#tunnelReconciler = new TunnelReconciler({
      context: this.#context,
      probe: options.probe,
      newToken: options.newToken,
      served: () => this.#compileSoon(),
    });
    this.#bindings = new BindingReconciler(
      this.#context,
      this.#tunnelReconciler,
      (keys) => {
        for (const key of keys) this.#queue.add(`binding:${key}`);
      },
    );
    this.#annotations = new ServiceAnnotations(this.#context);
    this.#policies = new AccessPolicies(this.#context);
    this.#queue = observedQueue({
      reconcile: (kind, name) => this.#reconcile(kind, name),
      log,
      ...options.metrics && { metrics: options.metrics },
      ...options.firstBackoffMs !== undefined && { firstBackoffMs: options.firstBackoffMs },
    });
  }

  /** Keys that wait to be worked on. */
  get depth(): number {
    return this.#queue.depth;
  }

  /** Keys that wait because their namespace has its share of the workers. */
  get heldBack(): number {
    return this.#queue.heldBack;
  }

  /** How many of each kind there are. */
  get counts(): { readonly tunnels: number; readonly bindings: number } {
    return { tunnels: this.#tunnels.size, bindings: this.#table.bindings.size };
  }

  /** Kinds that have not been listed yet. */
  get unlisted(): readonly string[] {
    return this.#world.unlisted;
  }

  /** Follows the cluster until the signal is aborted; changes nothing. */
  async watch(signal: AbortSignal): Promise<void> {
    await this.#world.run(signal);
  }

  /** Acts on what there is until the signal is aborted: for the replica that leads. */
  async act(signal: AbortSignal): Promise<void> {
    const isOver = untilAborted(signal);
    // What has not been listed yet must not pass for absent.
    await Promise.race([this.#world.synced(), isOver]);
    if (signal.aborted) return;
    this.#isActing = true;
    this.#context.accesses.begin();
    this.#prints.clear();
    this.#hasStarted = false;
    this.#compile();
    for (const service of this.#world.values("services")) this.#addService(service);
    for (const binding of this.#world.values("bindings")) this.#addOwningService(binding);
    await isOver;
    this.#isActing = false;
    clearTimeout(this.#compileTimer);
    this.#compileTimer = undefined;
    this.#namespaces.stop();
    this.#cas.stop();
    this.#credentials.stop();
    this.#watched = -1;
    await Promise.all([this.#queue.stop(), this.#watches.stop()]);
  }

  /** A Tunnel as it is now: one that the caches do not have yet is asked for. */
  async findTunnel(namespace: string, name: string): Promise<KubeObject | undefined> {
    const known = this.#world.get("tunnels", keyOf({ namespace, name }));
    return known ?? await this.#options.client.find(tunnels, { namespace, name });
  }

  /** Deletes what is kept for the clean-up of a namespace's objects. */
  async forget(namespace: string): Promise<void> {
    await this.#context.accesses.forgetKept(namespace);
  }

  /** Whether nothing is left to do at the moment; for tests. */
  get isSettled(): boolean {
    return this.#hasStarted && this.#compileTimer === undefined && this.#queue.isIdle;
  }

  #changed(kind: Followed, after: KubeObject | undefined, before: KubeObject | undefined): void {
    if (!this.#isActing) return;
    const object = (after ?? before)!;
    switch (kind) {
      case "tunnels":
      case "clusterTunnels": {
        const key = tunnelKey(kind === "tunnels" ? tunnels : clusterTunnels, object.metadata);
        if (!isSameButStatus(after, before)) this.#queue.add(`tunnel:${key}`);
        return this.#compileSoon();
      }
      case "bindings":
        this.#addOwningService(object);
        // A deletion does not wait for a compilation.
        if (object.metadata.deletionTimestamp !== undefined) this.#addBinding(object);
        if (isSameButStatus(after, before)) return;
        return this.#compileSoon();
      case "policies":
        if (isSameButStatus(after, before)) return;
        return this.#compileSoon();
      case "services":
        this.#addService(object);
        if (annotations(after) !== annotations(before)) {
          this.#queue.add(`service:${keyOf(object.metadata)}`);
        }
        return this.#compileSoon();
      case "namespaces":
        return this.#compileSoon();
      case "dnsEndpoints": {
        const owner = object.metadata.ownerReferences?.[0];
        if (owner) this.#queue.add(`binding:${object.metadata.namespace}/${owner.name}`);
        return;
      }
      default:
        return this.#addTunnelOf(object);
    }
  }

  /** Follows the relays of all tunnels, as they are reached now. */
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

  /** Objects that are made for a tunnel have its name in a label. */
  #addTunnelOf({ metadata }: KubeObject): void {
    const name = metadata.labels?.[tunnelLabel];
    if (name === undefined) return;
    const isOfCluster = metadata.labels?.["culvert.dev/tunnel-kind"] === "ClusterTunnel";
    const key = isOfCluster ? `ClusterTunnel/${name}` : `Tunnel/${metadata.namespace}/${name}`;
    this.#queue.add(`tunnel:${key}`);
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

  /** Whether something may have to be taken away with the credentials of a namespace. */
  #needsKept(namespace: string): boolean {
    for (const { metadata, status } of this.#world.values("tunnels")) {
      const isOver = metadata.deletionTimestamp !== undefined &&
        ((status ?? {}) as TunnelStatus).endpoint === undefined;
      if (metadata.namespace === namespace && !isOver) return true;
    }
    for (const { status } of this.#world.values("bindings")) {
      const { dns = [], registered = [] } = (status ?? {}) as BindingStatus;
      if (dns.some(({ secret }) => secret.startsWith(`${namespace}/`))) return true;
      if (registered.some(({ tunnel }) => tunnel.startsWith(`Tunnel/${namespace}/`))) return true;
    }
    return false;
  }

  #addBinding({ metadata }: KubeObject): void {
    this.#queue.add(`binding:${keyOf(metadata)}`);
  }

  #compileSoon(): void {
    if (!this.#isActing) return;
    this.#compileTimer ??= setTimeout(() => {
      this.#compileTimer = undefined;
      this.#compile();
    }, compileMs);
  }

  /** Compiles everything, and asks for work on what has changed. */
  #compile(): void {
    const { settings, digest } = this.#options;
    this.#tunnels = new Map();
    for (
      const [kind, resource] of [["tunnels", tunnels], ["clusterTunnels", clusterTunnels]] as const
    ) {
      for (const object of this.#world.values(kind)) {
        const tunnel = readTunnel(resource, object, settings.namespace);
        this.#tunnels.set(tunnel.key, tunnel);
      }
    }
    this.#namespaces.begin();
    const table = compileRoutes({
      tunnels: this.#tunnels,
      bindings: this.#world.values("bindings"),
      policies: this.#world.values("policies"),
      service: (key) => this.#world.get("services", key),
      namespace: (name) => this.#namespaces.get(name),
      ca: (path) => this.#cas.get(path),
      credential: (path) => this.#credentials.get(path),
      idPrefix: settings.idPrefix,
    }, digest);
    // What has not been read yet must not pass for missing.
    const sources = [this.#namespaces, this.#cas, this.#credentials];
    if (!sources.every(({ isComplete }) => isComplete)) return;
    for (const source of sources) source.keepUsed();
    this.#table = table;
    const inUse = new Set([...registeredOf(this.#world.values("bindings"))].map((it) => it.tunnel));
    this.#context.accesses.keepOnly((key) => this.#tunnels.has(key) || inUse.has(key));
    this.#followRelays();
    this.#addChanges(digest);
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.#queue.start();
  }

  /** Asks for work on what is another than at the last compilation. */
  #addChanges(digest: Digest): void {
    const prints = new Map<string, string>();
    for (const [key, tunnel] of this.#tunnels) {
      const { targets, backends, files, credentials, held } = this.#table.tunnels.get(key)!;
      const { metadata: { uid, generation } } = tunnel.object;
      const table = [targets, backends, [...files], [...credentials], [...held]];
      const print = JSON.stringify([uid, generation, tunnel.isDeleted, table]);
      prints.set(`tunnel:${key}`, digest(print));
    }
    for (const [key, binding] of this.#table.bindings) {
      prints.set(`binding:${key}`, digest(this.#printOf(binding)));
    }
    for (const policy of this.#world.values("policies")) {
      const { metadata } = policy;
      const print = JSON.stringify([
        metadata.uid,
        metadata.generation,
        this.#policies.verdicts(policy),
      ]);
      prints.set(`policy:${keyOf(metadata)}`, print);
    }
    const before = this.#prints;
    this.#prints = prints;
    for (const [key, print] of prints) if (before.get(key) !== print) this.#queue.add(key);
    for (const key of before.keys()) if (!prints.has(key)) this.#queue.add(key);
  }

  /** Everything that a binding's reconciliation depends on. */
  #printOf({ object, routes, tunnel }: CompiledBinding): string {
    const { uid, generation, deletionTimestamp } = object.metadata;
    const serves: Serves = (key, target) => this.#tunnelReconciler.serves(key, target);
    const served = routes.map((route) =>
      tunnel !== undefined && servesRoute(route, tunnel, serves)
    );
    return JSON.stringify([
      ...[uid, generation, deletionTimestamp, routes, served],
      ...[tunnel?.key, tunnel?.object.metadata.generation, tunnel?.isDeleted],
      tunnel?.status.formerRelays,
      tunnel !== undefined && this.#tunnelReconciler.registration(tunnel.key)?.reason,
    ]);
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
    // Its bindings wait for that.
    if (before !== this.#tunnelReconciler.registration(name)?.reason) this.#compileSoon();
    return again;
  }

  async #reconcileBinding(key: string): Promise<number | undefined> {
    const again = await this.#bindings.reconcile(key);
    if (!this.#world.get("bindings", key)) await this.#releaseOf(key);
    return again;
  }

  /** Of an object that is gone. */
  async #releaseOf(key: string): Promise<void> {
    const { namespace } = partsOf(key);
    if (namespace !== undefined) await this.#context.accesses.release(namespace);
  }

  /** A drain makes nothing, and works on those alone that are being deleted. */
  #isLeftAlone(kind: string, name: string): boolean {
    if (kind !== "binding" && kind !== "tunnel") return true;
    const object = kind === "binding"
      ? this.#world.get("bindings", name)
      : this.#latest(name)?.object;
    return object !== undefined && object.metadata.deletionTimestamp === undefined;
  }

  /** A tunnel as the caches have it now, which may be newer than the last compilation. */
  #latest(key: string): Tunnel | undefined {
    const isOfCluster = key.startsWith("ClusterTunnel/");
    const object = this.#world.get(
      isOfCluster ? "clusterTunnels" : "tunnels",
      key.slice(key.indexOf("/") + 1),
    );
    return object &&
      readTunnel(
        isOfCluster ? clusterTunnels : tunnels,
        object,
        this.#options.settings.namespace,
      );
  }
}

/** Whether the change is one of the status alone. */
export function isSameButStatus(
  after: KubeObject | undefined,
  before: KubeObject | undefined,
): boolean {
  if (!after || !before) return false;
  const [one, other] = [after.metadata, before.metadata];
  return one.uid === other.uid && one.generation === other.generation &&
    one.deletionTimestamp === other.deletionTimestamp &&
    JSON.stringify([one.labels, one.annotations]) ===
      JSON.stringify([other.labels, other.annotations]);
}

function annotations(service: KubeObject | undefined): string {
  return JSON.stringify(service?.metadata.annotations ?? {});
}
