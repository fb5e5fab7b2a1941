/** The finalizer of our objects, and how long their clean-up may fail. */
import type { KubeClient } from "../kube/client.ts";
import { isConflict, isNotFound } from "../kube/errors.ts";
import type { EventRecorder, EventText } from "../kube/events.ts";
import type { KubeObject } from "../kube/objects.ts";
import type { Resource } from "../kube/resources.ts";
import { finalizer } from "./api/schema.ts";
import type { Context } from "./context.ts";
import type { WatchedKind } from "./caches.ts";

/** Adds our finalizer to an object. @throws {KubeError} */
export async function holdObject(
  { client, caches }: Pick<Context, "client" | "caches">,
  resource: Resource,
  kind: WatchedKind,
  { metadata }: KubeObject,
): Promise<void> {
  const { name, namespace, uid = "" } = metadata;
  const finalizers = [finalizer];
  const written = await client.apply(resource, {
    metadata: { name, ...namespace !== undefined && { namespace }, uid, finalizers },
  }, "finalizers");
  caches.learn(kind, written);
}

/** Whether somebody deletes an object with `--cascade=orphan`, to keep what it owns. */
export function keepsDependents({ metadata }: KubeObject): boolean {
  return metadata.finalizers?.includes("orphan") ?? false;
}

/** How often the removal is retried after conflicting writes. */
const maxReleases = 5;

/** Removes our finalizer from an object, and no other one. @throws {KubeError} */
export async function releaseObject(
  client: KubeClient,
  resource: Resource,
  { metadata }: KubeObject,
): Promise<void> {
  const { name, namespace } = metadata;
  for (let tries = 1;; tries++) {
    const found = await client.find(resource, { name, namespace });
    const { uid, resourceVersion, finalizers = [] } = found?.metadata ?? {};
    if (uid !== metadata.uid || !finalizers.includes(finalizer)) return;
    const others = finalizers.filter((it) => it !== finalizer);
    try {
      const patch = { metadata: { resourceVersion, finalizers: others } };
      await client.merge(resource, { name, namespace }, patch);
      return;
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error) || tries === maxReleases) throw error;
    }
  }
}

/** Whether clean-up of a deleted object has failed for longer than `orphanMs`. */
export function isOrphaned(
  { settings }: { readonly settings: Pick<Context["settings"], "orphanMs"> },
  { metadata }: KubeObject,
): boolean {
  const sinceMs = Date.now() - Date.parse(metadata.deletionTimestamp ?? "");
  return sinceMs >= settings.orphanMs;
}

/** Reports in an Event what is left outside the cluster, where nobody will clean it up. */
export async function reportOrphaned(
  events: EventRecorder,
  resource: Resource,
  object: KubeObject,
  { action, note }: Pick<EventText, "action" | "note">,
): Promise<void> {
  await events.report(resource, object, { type: "Warning", reason: "Orphaned", action, note });
}

const maxRetryMs = 2_000;

/** Milliseconds until a failed clean-up is retried. */
export function retryMs({ settings }: Pick<Context, "settings">): number {
  return Math.min(maxRetryMs, settings.checkMs);
}
