/** Removes the operator's finalizers before it is uninstalled, so that its objects can be deleted. */
import type { DrainPolicy } from "../config/commands/drain_options.ts";
import type { KubeClient } from "../kube/client.ts";
import { delay } from "../kube/delay.ts";
import { isConflict, isForbidden, isNotFound, isPermanent } from "../kube/errors.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Condition, KubeObject } from "../kube/objects.ts";
import { type Resource, titleOf } from "../kube/resources.ts";
import type { Log } from "../log.ts";
import { messageOf } from "../message_of.ts";
import { finalizer } from "./api/schema.ts";
import type { BindingStatus } from "./api/tunnel_binding.ts";
import { releaseObject, reportOrphaned } from "./finalizer.ts";

/** What a drain runs with. */
export interface DrainOptions {
  readonly client: KubeClient;
  /** The kinds to drain, in the order in which they are deleted. */
  readonly kinds: readonly Resource[];
  /** Empty for all namespaces, and cluster-wide kinds besides. */
  readonly namespaces: readonly string[];
  readonly policy: DrainPolicy;
  /** Namespaces for which {@link forget} is called, whether they have objects or not. */
  readonly homes: readonly string[];
  /** Deletes what the operator has created for itself in a namespace, or about one. */
  readonly forget: (namespace: string) => Promise<void>;
  readonly events: EventRecorder;
  readonly log: Log;
  readonly pollMs?: number;
}

/** An object that the operator is still responsible for. */
export interface Undrained {
  readonly resource: Resource;
  readonly object: KubeObject;
}

const defaultPollMs = 1_000;

/**
 * Drains. The reconcilers, which run at the same time, clean up the objects that are being deleted.
 */
export class Drain {
  readonly #options: DrainOptions;
  /** The reason that was last logged for each object, by its title. */
  readonly #said = new Map<string, string>();
  readonly #skipped = new Set<string>();
  /** The namespaces of all objects that were seen, drained or not. */
  readonly #namespaces: Set<string>;

  constructor(options: DrainOptions) {
    this.#options = options;
    this.#namespaces = new Set(options.homes);
  }

  /** Everything that is to be drained; changes nothing. */
  async find(): Promise<readonly Undrained[]> {
    const all: Undrained[] = [];
    for (const resource of this.#options.kinds) {
      for (const object of await this.#list(resource)) {
        const { namespace } = object.metadata;
        if (namespace !== undefined) this.#namespaces.add(namespace);
        if (this.#isUndrained(object)) all.push({ resource, object });
      }
    }
    return all;
  }

  /**
   * Works until nothing is left or the signal is aborted.
   *
   * @returns what is left
   * @throws what the API server refuses for good
   */
  async run(signal: AbortSignal): Promise<readonly Undrained[]> {
    let left: readonly Undrained[] = [];
    while (true) {
      try {
        left = await this.find();
        this.#report(left);
        if (left.length === 0) {
          await this.#forgetAll();
          return left;
        }
        for (const it of left) await this.#begin(it);
      } catch (error) {
        if (isPermanent(error)) throw error;
        this.#options.log.warn("Part of the drain failed; trying again", {
          error: messageOf(error),
        });
      }
      if (signal.aborted) return await this.find();
      await delay(this.#options.pollMs ?? defaultPollMs, signal);
    }
  }

  /** Removes our finalizer from objects that could not be cleaned up, and reports each in an Event. */
  async force(left: readonly Undrained[]): Promise<void> {
    const { client, events, log } = this.#options;
    for (const { resource, object } of left) {
      const reason = reasonOf(object);
      await reportOrphaned(events, resource, object, {
        action: "Drain",
        note: `The operator was uninstalled before clean-up finished: ${reason}`,
      });
      await releaseObject(client, resource, object);
      log.warn("Removed the finalizer of an object before its clean-up finished", {
        object: titleOf(resource, object),
        reason,
      });
    }
    await this.#forgetAll();
  }

  async #forgetAll(): Promise<void> {
    for (const namespace of this.#namespaces) await this.#options.forget(namespace);
  }

  async #list(resource: Resource): Promise<readonly KubeObject[]> {
    const { namespaces } = this.#options;
    if (namespaces.length > 0 && !resource.isNamespaced) return [];
    const scopes = namespaces.length === 0 ? [undefined] : namespaces;
    const lists = await Promise.all(scopes.map((namespace) => this.#listIn(resource, namespace)));
    return lists.flat();
  }

  async #listIn(
    resource: Resource,
    namespace: string | undefined,
  ): Promise<readonly KubeObject[]> {
    try {
      return (await this.#options.client.list(resource, { namespace })).items;
    } catch (error) {
      // The kind is not installed.
      if (isNotFound(error)) return [];
      // A deleted namespace takes its Roles with it.
      if (namespace === undefined || !isForbidden(error)) throw error;
      this.#skip(resource, namespace);
      return [];
    }
  }

  #skip({ plural }: Resource, namespace: string): void {
    const collection = `${plural} in ${namespace}`;
    if (this.#skipped.has(collection)) return;
    this.#skipped.add(collection);
    this.#options.log.warn("Not permitted to list objects; leaving them as they are", {
      resource: plural,
      namespace,
    });
  }

  #isUndrained({ metadata }: KubeObject): boolean {
    const isHeld = metadata.finalizers?.includes(finalizer) ?? false;
    const isToGo = this.#options.policy === "delete" && metadata.deletionTimestamp === undefined;
    return isHeld || isToGo;
  }

  async #begin({ resource, object }: Undrained): Promise<void> {
    const { client, policy } = this.#options;
    const { name, namespace, uid = "", deletionTimestamp } = object.metadata;
    if (deletionTimestamp !== undefined) return;
    try {
      if (policy === "retain") return await releaseObject(client, resource, object);
      await client.delete(resource, { name, namespace }, uid);
    } catch (error) {
      // It changed meanwhile; the next round reads it again.
      if (!isConflict(error)) throw error;
    }
  }

  /** Logs one line for each object whose state has changed. */
  #report(left: readonly Undrained[]): void {
    const { log } = this.#options;
    const titles = new Set<string>();
    for (const { resource, object } of left) {
      const title = titleOf(resource, object);
      titles.add(title);
      const reason = reasonOf(object);
      if (this.#said.get(title) === reason) continue;
      this.#said.set(title, reason);
      if (reason !== notBegun) {
        log.info("Waiting for an object", { object: title, reason, left: left.length });
      }
    }
    for (const title of [...this.#said.keys()]) {
      if (titles.has(title)) continue;
      this.#said.delete(title);
      log.info("Drained an object", { object: title, left: left.length });
    }
  }
}

const notBegun = "not begun";

/** Names what is left: at most so many objects. */
const maxNames = 5;

/** What is left, in one line. */
export function leftText(left: readonly Undrained[]): string {
  const names = left.slice(0, maxNames).map(({ resource, object }) =>
    `${titleOf(resource, object)} (${reasonOf(object)})`
  );
  const more = left.length > maxNames ? [`and ${left.length - maxNames} more`] : [];
  return [...names, ...more].join("; ");
}

/** Why an object is not drained: its condition, or its remaining services and records. */
function reasonOf(object: KubeObject): string {
  const { deletionTimestamp } = object.metadata;
  if (deletionTimestamp === undefined) return notBegun;
  const { conditions = [], registered = [], dns = [] } = (object["status"] ?? {}) as
    & BindingStatus
    & { readonly conditions?: readonly Condition[] };
  const fault = conditions.find(({ type, reason }) =>
    type !== "Ready" && ["CleanUpFailed", "InUse"].includes(reason)
  );
  if (fault) return `${fault.reason}: ${fault.message}`;
  const outside = [
    ...registered.map(({ service, endpoint }) => `service ${service} at ${endpoint}`),
    ...dns.map(({ name, zone }) => `${name} in DNS zone ${zone}`),
  ];
  return outside.length > 0 ? `may still have ${outside.join(", ")}` : "is being cleaned up";
}
