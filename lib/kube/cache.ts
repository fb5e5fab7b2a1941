/**
 * A collection as it is at the API server: listed once, then followed by watches that resume where the
 * last one ended.
 */
import type { Log } from "../log.ts";
import { messageOf } from "../message_of.ts";
import type { KubeClient, Selection } from "./client.ts";
import { delay, jitteredMs } from "./delay.ts";
import { isExpired, isNotFound, KubeError } from "./errors.ts";
import { isNewer, watchedFirst } from "./first_list.ts";
import { type KubeMetrics, noKubeMetrics } from "./metrics.ts";
import { keyOf, type KubeObject, partsOf } from "./objects.ts";
import type { Resource } from "./resources.ts";
import { WatchSilence } from "./silence.ts";

/** What a cache runs with. */
export interface CacheOptions<Kept extends KubeObject> {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly selection?: Selection;
  /** What is kept of an object; what is not needed would only take memory. */
  readonly keep: (object: KubeObject) => Kept;
  /** Called when an object appears, changes or goes; both are given where there are both. */
  readonly changed: (key: string, after: Kept | undefined, before: Kept | undefined) => void;
  readonly log: Log;
  readonly metrics?: KubeMetrics;
  /** Whether the kind may be missing from the cluster: then there are no objects, and no errors. */
  readonly isOptional?: boolean;
  /** What to do about a kind that is missing, for the log. */
  readonly hint?: string;
  readonly timing?: CacheTiming;
}

/** Times, for tests to shorten. */
export interface CacheTiming {
  readonly silenceMs: number;
  /** The API server ends a watch after this, or up to twice as long. */
  readonly watchSeconds: number;
  readonly firstBackoffMs: number;
  readonly maxBackoffMs: number;
  /** How often it is looked for a kind that is missing. */
  readonly missingMs: number;
}

const defaultTiming: CacheTiming = {
  silenceMs: 150_000,
  watchSeconds: 300,
  firstBackoffMs: 500,
  maxBackoffMs: 30_000,
  missingMs: 30_000,
};

/** A collection, kept up to date while {@link run} runs. */
export class Cache<Kept extends KubeObject = KubeObject> {
  readonly #options: CacheOptions<Kept>;
  readonly #metrics: KubeMetrics;
  readonly #timing: CacheTiming;
  readonly #objects = new Map<string, Kept>();
  readonly #synced = Promise.withResolvers<void>();
  #isSynced = false;
  #isMissing = false;
  #isInTrouble = false;

  constructor(options: CacheOptions<Kept>) {
    this.#options = options;
    this.#metrics = options.metrics ?? noKubeMetrics;
    this.#timing = options.timing ?? defaultTiming;
  }

  /** Resolves once the collection has been listed, or the kind was found to be missing. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Whether the cluster does not have the kind. */
  get isMissing(): boolean {
    return this.#isMissing;
  }

  /** The resource's name as in `kubectl`: `tunnels.culvert.dev`. */
  get title(): string {
    const { plural, group } = this.#options.resource;
    return group === "" ? plural : `${plural}.${group}`;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): Kept | undefined {
    return this.#objects.get(key);
  }

  values(): IterableIterator<Kept> {
    return this.#objects.values();
  }

  /** Whether an object is in the namespace that is followed. */
  covers({ metadata }: KubeObject): boolean {
    const { namespace } = this.#options.selection ?? {};
    return namespace === undefined || namespace === metadata.namespace;
  }

  /** Takes over what the API server has just answered, ahead of the watch. */
  learn(object: KubeObject): void {
    this.#put(object);
  }

  /** Lists and watches until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    let version: string | undefined;
    let failures = 0;
    while (!signal.aborted) {
      const before = performance.now();
      try {
        version ??= await this.#list(signal);
        for await (const next of this.#follow(version, signal)) {
          version = next;
          failures = 0;
        }
        this.#metrics.watchEnded(this.#options.resource.plural, "closed");
        // A server that ends watches at once must not be asked in a storm.
        const tookMs = performance.now() - before;
        if (tookMs < this.#timing.firstBackoffMs) await delay(this.#timing.firstBackoffMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        if (isExpired(error)) version = undefined;
        await this.#recover(error, failures, signal);
      }
    }
  }

  async #recover(error: unknown, failures: number, signal: AbortSignal): Promise<void> {
    const { resource, isOptional, log } = this.#options;
    if (isNotFound(error) && isOptional) {
      if (!this.#isMissing) this.#forgetAll();
      this.#isMissing = true;
      this.#markSynced();
      return await delay(this.#timing.missingMs, signal);
    }
    const why = isExpired(error) ? "expired" : error instanceof WatchSilence ? "silent" : "error";
    this.#metrics.watchEnded(resource.plural, why);
    // One relist at once is what 410 asks for; a second one in a row waits.
    if (isExpired(error) && failures === 1) return;
    if (!this.#isInTrouble && why === "error") {
      this.#isInTrouble = true;
      log.warn("Can't watch objects of the API server; trying again", {
        resource: this.title,
        error: isNotFound(error) ? this.#missing() : messageOf(error),
      });
    }
    const retryAfterMs = error instanceof KubeError ? error.retryAfterMs ?? 0 : 0;
    const { firstBackoffMs: firstMs, maxBackoffMs: maxMs } = this.#timing;
    await delay(Math.max(retryAfterMs, jitteredMs(failures, { firstMs, maxMs })), signal);
  }

  #missing(): string {
    const { hint } = this.#options;
    return `The API server has no such kind${hint === undefined ? "" : `; ${hint}`}`;
  }

  async #list(signal: AbortSignal): Promise<string> {
    const { client, resource, selection, log } = this.#options;
    const { silenceMs } = this.#timing;
    const list = await client.list(resource, selection);
    const present = new Set(list.items.map(({ metadata }) => keyOf(metadata)));
    if (!this.#isSynced || this.#isMissing) {
      const first = { client, resource, selection, title: this.title, log, silenceMs, signal };
      for await (const object of watchedFirst(list, first)) {
        this.#put(object);
        // The list can't have this state, and no other confirmation is needed.
        if (isNewer(object, list)) present.add(keyOf(object.metadata));
      }
    }
    // Whoever stands between may have left something out: each absence is confirmed on its own.
    for (const key of [...this.#objects.keys()].filter((key) => !present.has(key))) {
      await this.#confirmAbsence(key);
    }
    for (const item of list.items) this.#put(item);
    this.#isMissing = false;
    this.#markSynced();
    this.#recovered();
    return list.resourceVersion;
  }

  async #confirmAbsence(key: string): Promise<void> {
    const { client, resource, selection = {} } = this.#options;
    const object = await client.find(resource, partsOf(key));
    const isSelected = object !== undefined &&
      (selection.labelSelector === undefined || this.#keepsLabels(key, object));
    if (object && isSelected) this.#put(object);
    else this.#drop(key);
  }

  /** Whether an object has the labels by which it was selected before. */
  #keepsLabels(key: string, { metadata }: KubeObject): boolean {
    const before = this.#objects.get(key)?.metadata.labels ?? {};
    const selectors = this.#options.selection?.labelSelector?.split(",") ?? [];
    return selectors.every((selector) => {
      const [label = ""] = selector.split(/[=!]/);
      return metadata.labels?.[label] === before[label];
    });
  }

  async *#follow(version: string, signal: AbortSignal): AsyncGenerator<string> {
    const { client, resource, selection = {} } = this.#options;
    const { watchSeconds, silenceMs } = this.#timing;
    const events = client.watch(resource, selection, {
      resourceVersion: version,
      // Not all watches of all replicas begin anew at the same time.
      timeoutSeconds: Math.round(watchSeconds * (1 + Math.random())),
      silenceMs,
      signal,
    });
    for await (const { type, object } of events) {
      if (type === "DELETED") this.#drop(keyOf(object.metadata));
      else if (type !== "BOOKMARK") this.#put(object);
      this.#recovered();
      const { resourceVersion } = object.metadata;
      if (resourceVersion !== undefined) yield resourceVersion;
    }
  }

  #put(object: KubeObject): void {
    const key = keyOf(object.metadata);
    const before = this.#objects.get(key);
    if (before && isOlder(object, before)) return;
    if (before && before.metadata.resourceVersion === object.metadata.resourceVersion) return;
    const after = this.#options.keep(withoutFieldOwners(object));
    this.#objects.set(key, after);
    this.#options.changed(key, after, before);
  }

  #drop(key: string): void {
    const before = this.#objects.get(key);
    if (!before) return;
    this.#objects.delete(key);
    this.#options.changed(key, undefined, before);
  }

  #forgetAll(): void {
    for (const key of [...this.#objects.keys()]) this.#drop(key);
  }

  #markSynced(): void {
    this.#isSynced = true;
    this.#synced.resolve();
  }

  #recovered(): void {
    if (!this.#isInTrouble) return;
    this.#isInTrouble = false;
    this.#options.log.info("Watching objects of the API server again", { resource: this.title });
  }
}

/**
 * Whether one state of an object is older than another. Resource versions of one object are compared
 * as numbers, which Kubernetes allows since 1.35 and etcd has always had.
 */
function isOlder(one: KubeObject, other: KubeObject): boolean {
  if (one.metadata.uid !== other.metadata.uid) return false;
  return Number(one.metadata.resourceVersion) < Number(other.metadata.resourceVersion);
}

function withoutFieldOwners(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata as KubeObject["metadata"] & {
    managedFields?: unknown;
  };
  return { ...object, metadata };
}
