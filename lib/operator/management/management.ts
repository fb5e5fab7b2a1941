/** The controller beside a relay: Clusters and RegistrationTokens, for the relay and for Argo CD. */
import { delay, untilAborted } from "../../kube/delay.ts";
import { EventRecorder } from "../../kube/events.ts";
import { isStatusChange, keyOf, type KubeObject } from "../../kube/objects.ts";
import type { WorkQueue } from "../../kube/work_queue.ts";
import { messageOf } from "../../message_of.ts";
import type { Controller, ControllerOptions } from "../controller.ts";
import { observedQueue } from "../observed_queue.ts";
import { Caches, managementKinds, type WatchedKind } from "../caches.ts";
import { isDestination } from "./argocd.ts";
import { ArgocdSecrets } from "./argocd_secrets.ts";
import { ownerOf } from "./cluster_owner.ts";
import { ClusterProfiles } from "./cluster_profiles.ts";
import { ClusterEntries } from "./cluster_entries.ts";
import { ClusterReconciler } from "./cluster_reconciler.ts";
import { readCluster } from "./cluster_table.ts";
import type { ManagementContext, ManagementSettings } from "./management_context.ts";
import { RegisteredClusters } from "./registered_clusters.ts";
import { RegistrationTokens } from "./registration_tokens.ts";
import { RelayCredentials } from "./relay_credentials.ts";
import { RelaySecrets } from "./relay_secrets.ts";
import { RelayView } from "./relay_view.ts";

/** What the relay's side is made from. */
export interface ManagementOptions extends ControllerOptions {
  readonly settings: ManagementSettings;
}

/** How long to wait before a failed start is retried, in milliseconds. */
const firstRetryMs = 1_000;
/** The longest wait for the relay's first answer. */
const firstAnswerMs = 5_000;

/** Controls Clusters and RegistrationTokens. */
export class Management implements Controller {
  readonly #options: ManagementOptions;
  readonly #context: ManagementContext;
  readonly #caches: Caches;
  readonly #queue: WorkQueue;
  readonly #relaySecrets: RelaySecrets;
  readonly #argocd: ArgocdSecrets;
  readonly #tokens: RegistrationTokens;
  readonly #entries: ClusterEntries;
  readonly #clusters: ClusterReconciler;
  readonly #registered: RegisteredClusters;
  #isActing = false;

  constructor(options: ManagementOptions) {
    this.#options = options;
    const { client, relays, settings, digest, newToken, log, instance, metrics } = options;
    this.#caches = new Caches({
      ...{ client, log, metrics },
      watchNamespaces: options.watchNamespaces,
      kinds: managementKinds,
      argocdNamespaces: settings.argocdNamespaces,
      clusterProfileNamespaces: settings.clusterProfileNamespaces,
      changed: (kind, after, before) => this.#changed(kind, after, before),
      timing: options.cacheTiming,
    });
    const credentials = new RelayCredentials(client, settings.namespace, settings.relaySecret);
    const view = settings.relayAdminUrl === undefined
      ? undefined
      : this.#viewOf(settings.relayAdminUrl, credentials);
    this.#context = {
      ...{ client, relays, settings, digest, newToken, log, credentials, view },
      caches: this.#caches,
      events: new EventRecorder({ client, controller: "culvert.dev/clusters", instance, log }),
    };
    const relaySecrets = this.#relaySecrets = new RelaySecrets(this.#context);
    const argocd = this.#argocd = new ArgocdSecrets(this.#context);
    this.#tokens = new RegistrationTokens(this.#context, relaySecrets);
    this.#entries = new ClusterEntries(this.#context, relaySecrets, argocd);
    const profiles = new ClusterProfiles(this.#context, argocd);
    this.#clusters = new ClusterReconciler(this.#context, {
      ...{ entries: this.#entries, argocd, profiles },
    });
    this.#registered = new RegisteredClusters(this.#context, this.#tokens, argocd);
    this.#queue = observedQueue({
      reconcile: (kind, name) => this.#reconcile(kind, name),
      ...{ log, metrics, firstBackoffMs: options.firstBackoffMs },
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

  /** How many Clusters and RegistrationTokens there are. */
  get counts(): { readonly clusters: number; readonly registrationTokens: number } {
    return {
      clusters: [...this.#caches.values("clusters")].length,
      registrationTokens: [...this.#caches.values("registrationTokens")].length,
    };
  }

  /** Whether no work is queued, running or due; for tests. */
  get isSettled(): boolean {
    return this.#isActing && this.#queue.isIdle;
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
    const { namespace } = this.#options.settings;
    while (!signal.aborted && !await this.#begin(() => this.#context.credentials.refresh())) {
      await delay(firstRetryMs, signal);
    }
    const { view } = this.#context;
    // The view needs the operator's token: without it, the relay would seem unreachable.
    if (view) await this.#begin(() => this.#tokens.reconcile(namespace));
    const viewing = view?.run(signal);
    if (view) await this.#firstAnswer(view, signal);
    if (signal.aborted) return await viewing;
    this.#entries.begin();
    this.#isActing = true;
    this.#addAll();
    this.#queue.start();
    await Promise.all([untilAborted(signal), viewing]);
    this.#isActing = false;
    await this.#queue.stop();
  }

  /** Ends all work, and deletes what is written for the relay of a namespace. */
  async forget(namespace: string): Promise<void> {
    await this.#queue.stop();
    await this.#relaySecrets.removeAll(namespace);
  }

  async #firstAnswer(view: RelayView, signal: AbortSignal): Promise<void> {
    const isHere = new AbortController();
    const tooLate = delay(firstAnswerMs, AbortSignal.any([signal, isHere.signal]));
    await Promise.race([view.asked, tooLate]);
    isHere.abort();
  }

  /** Does a step of the start. @returns whether it succeeded */
  async #begin(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      this.#options.log.warn("Could not start; trying again", { error: messageOf(error) });
      return false;
    }
  }

  #viewOf(endpoint: string, credentials: RelayCredentials): RelayView {
    const { relays, watchRelay, settings: { pollMs, resyncMs }, log, firstBackoffMs } =
      this.#options;
    return new RelayView({
      ...{ relays, fetch: watchRelay, pollMs, resyncMs, log, firstBackoffMs },
      access: () => {
        const token = this.#tokens.ownToken;
        const { ca: caPem, pair } = credentials.known ?? {};
        return token === undefined ? undefined : { endpoint, token, caPem, pair };
      },
      changed: (ids) => this.#relayChanged(ids),
      policiesChanged: () => this.#recompile(),
    });
  }

  /** What the relay's entries depend on has changed. */
  #recompile(): void {
    const { namespace } = this.#options.settings;
    this.#entries.forget(namespace);
    if (this.#isActing) this.#queue.add(`entries:${namespace}`);
  }

  #relayChanged(ids?: ReadonlySet<string>): void {
    if (!this.#isActing) return;
    const { namespace } = this.#options.settings;
    if (!ids) this.#recompile();
    this.#queue.add("registrations:");
    this.#queue.add(`tokens:${namespace}`);
    for (const object of this.#caches.values("clusters")) {
      if (ids?.has(readCluster(object).id) ?? true) {
        this.#queue.add(`cluster:${keyOf(object.metadata)}`);
      }
    }
  }

  #addAll(): void {
    const { namespace } = this.#options.settings;
    const namespaces = new Set([namespace]);
    for (const kind of ["clusters", "registrationTokens"] as const) {
      for (const { metadata } of this.#caches.values(kind)) {
        namespaces.add(metadata.namespace ?? "");
      }
    }
    for (const name of namespaces) {
      this.#queue.add(`tokens:${name}`);
      this.#queue.add(`entries:${name}`);
    }
    for (const { metadata } of this.#caches.values("clusters")) {
      this.#queue.add(`cluster:${keyOf(metadata)}`);
    }
    for (const secret of this.#caches.values("argocdSecrets")) this.#addOwner(secret);
    for (const profile of this.#caches.values("clusterProfiles")) this.#addProfiled(profile);
    this.#queue.add("credentials:");
    this.#queue.add("registrations:");
  }

  #changed(kind: WatchedKind, after: KubeObject | undefined, before: KubeObject | undefined): void {
    const { namespace = "" } = (after ?? before)!.metadata;
    if (kind === "clusters" && !isStatusChange(after, before)) this.#entries.forget(namespace);
    if (!this.#isActing) return;
    switch (kind) {
      case "clusters":
        if (isStatusChange(after, before)) return;
        this.#queue.add(`entries:${namespace}`);
        this.#queue.add(`cluster:${keyOf((after ?? before)!.metadata)}`);
        return this.#queue.add("registrations:");
      case "registrationTokens":
        if (isStatusChange(after, before)) return;
        this.#queue.add(`tokens:${namespace}`);
        return this.#queue.add("registrations:");
      case "argocdSecrets":
        for (const secret of [after, before]) if (secret) this.#addOwner(secret);
        if (!after) this.#addNamesakes(before!);
        return;
      case "clusterProfiles":
        return this.#addProfiled((after ?? before)!);
      case "applications":
        for (const application of [after, before]) if (application) this.#addUsed(application);
    }
  }

  /** Queues the Cluster that a Secret was made for, or those whose name or server it takes. */
  #addOwner(secret: KubeObject): void {
    const owner = ownerOf(secret);
    if (owner !== undefined) this.#addCluster(owner);
    // There may be thousands of Clusters' own, which stand in nobody's way.
    if (owner === undefined || !this.#caches.get("clusters", owner)) this.#addNamesakes(secret);
  }

  /** Clusters with the name or the server of a Secret wait until it is gone. */
  #addNamesakes(secret: KubeObject): void {
    const [name, server] = [String(secret["name"]), String(secret["server"])];
    for (const object of this.#caches.values("clusters")) {
      const { id, key } = readCluster(object);
      if (id === name || server.endsWith(`/tunnel/${id}`)) this.#addCluster(key);
    }
  }

  /** A ClusterProfile concerns the Cluster that it was made for, and the one that wants its name. */
  #addProfiled(profile: KubeObject): void {
    const namesake = `${this.#options.settings.namespace}/${profile.metadata.name}`;
    for (const key of [ownerOf(profile) ?? namesake, namesake]) this.#queue.add(`cluster:${key}`);
  }

  /** An Application concerns the Cluster that it uses, through whichever Secret. */
  #addUsed(application: KubeObject): void {
    for (const secret of this.#caches.values("argocdSecrets")) {
      if (!isDestination(secret, application)) continue;
      const owner = this.#argocd.ownerThrough(secret);
      if (owner === undefined) continue;
      this.#addCluster(owner);
      this.#queue.add("registrations:");
    }
  }

  #addCluster(key: string): void {
    // A deleted Cluster has its entry as long as Applications use it.
    const namespace = key.slice(0, key.indexOf("/"));
    this.#entries.forget(namespace);
    this.#queue.add(`entries:${namespace}`);
    this.#queue.add(`cluster:${key}`);
  }

  async #reconcile(kind: string, name: string): Promise<number | undefined> {
    if (this.#options.isDraining && this.#isLeftAlone(kind, name)) return undefined;
    if (kind === "cluster") return await this.#clusters.reconcile(name);
    if (kind === "registrations") return await this.#registered.reconcile();
    if (kind === "credentials") return await this.#refreshCredentials();
    if (kind === "entries") {
      const { keys, again } = await this.#entries.write(name);
      for (const key of keys) this.#queue.add(`cluster:${key}`);
      return again;
    }
    const hadToken = this.#tokens.ownToken !== undefined;
    const again = await this.#tokens.reconcile(name);
    if (!hadToken && this.#tokens.ownToken !== undefined) this.#context.view?.refresh();
    return again;
  }

  /** A drain creates no Clusters, and reconciles only those that are being deleted. */
  #isLeftAlone(kind: string, name: string): boolean {
    const cluster = this.#caches.get("clusters", name);
    return kind === "registrations" ||
      (kind === "cluster" && cluster?.metadata.deletionTimestamp === undefined);
  }

  async #refreshCredentials(): Promise<number | undefined> {
    const { settings } = this.#options;
    if (settings.relaySecret === undefined) return undefined;
    if (await this.#context.credentials.refresh()) {
      for (const { metadata } of this.#caches.values("clusters")) {
        this.#queue.add(`cluster:${keyOf(metadata)}`);
      }
    }
    return settings.checkMs;
  }
}
