/**
 * What a watch shows after the first list of a kind. Nothing is known yet that the list could lack, so a
 * watch from the beginning tells: it begins with all objects that there are.
 *
 * With `sendInitialEvents`, a bookmark would mark their end. API servers whose feature gate WatchList is
 * off refuse it with 422, so a fallback to this method would remain.
 */
import type { Log } from "../log.ts";
import type { KubeClient, ObjectList, Selection } from "./client.ts";
import { KubeUnreachable } from "./errors.ts";
import { keyOf, type KubeObject } from "./objects.ts";
import type { Resource } from "./resources.ts";

/** What is watched, and how. */
export interface FirstWatch {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly selection: Selection | undefined;
  /** The kind, as errors and the log name it. */
  readonly title: string;
  readonly log: Log;
  /** A watch without a byte for so long is dead. */
  readonly silenceMs: number;
  readonly signal: AbortSignal;
}

/** The API server sends more objects than this in a second. */
const objectsPerSecond = 1_000;
const maxSeconds = 30;
/** Beyond the time that the API server has; it may be slow to begin. */
const graceMs = 10_000;

/**
 * Objects that the API server has, each in a state that may be older or newer than the list's. Takes a
 * second, and one more for every 1,000 objects of the list, 30 at most. If the watch has not shown all
 * that is in the list by then, it may not have shown all that the list lacks either: the log says so.
 *
 * @throws if the list is empty, and there is something after all; or if the watch fails
 */
export async function* watchedFirst(
  { items }: ObjectList,
  { client, resource, selection = {}, title, log, silenceMs, signal }: FirstWatch,
): AsyncGenerator<KubeObject> {
  const timeoutSeconds = Math.min(1 + Math.floor(items.length / objectsPerSecond), maxSeconds);
  const endMs = performance.now() + 1_000 * timeoutSeconds + graceMs;
  const unseen = new Set(items.map(({ metadata }) => keyOf(metadata)));
  const options = { resourceVersion: "0", timeoutSeconds, silenceMs, signal };
  for await (const { type, object } of client.watch(resource, selection, options)) {
    if (type === "ADDED" && items.length === 0) {
      throw new KubeUnreachable(`A list of ${title} is empty, and there are some`);
    }
    unseen.delete(keyOf(object.metadata));
    // What is deleted meanwhile the list has not, or the watch that follows tells so.
    if (type === "ADDED" || type === "MODIFIED") yield object;
    // A watch that does not end must not hold up the start.
    if (performance.now() > endMs) break;
  }
  if (unseen.size === 0 || signal.aborted) return;
  log.warn("Can't confirm that the first list of objects is complete; continuing with it", {
    ...{ resource: title, listed: items.length, notSeenByWatch: unseen.size },
  });
}

/** Whether a state of an object is newer than a list. */
export function isNewer({ metadata }: KubeObject, { resourceVersion }: ObjectList): boolean {
  return Number(metadata.resourceVersion) > Number(resourceVersion);
}
