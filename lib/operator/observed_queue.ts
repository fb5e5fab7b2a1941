/** A queue of `kind:name` keys, whose work is counted and whose failures are logged. */
import { isConflict, isPermanent } from "../kube/errors.ts";
import type { KubeMetrics } from "../kube/metrics.ts";
import { WorkQueue } from "../kube/work_queue.ts";
import type { Log } from "../log.ts";
import { messageOf } from "../message_of.ts";
import { ownerOfTunnel } from "./tunnel.ts";

/** What the operator counts besides what its client does. */
export interface OperatorObserver extends KubeMetrics {
  reconciled(kind: string, result: "done" | "retry" | "failed", seconds: number): void;
}

/** What a queue is made from. */
export interface ObservedQueueOptions {
  /** @returns after how many milliseconds the key wants to be looked at again */
  readonly reconcile: (kind: string, name: string) => Promise<number | undefined>;
  readonly log: Log;
  readonly metrics?: OperatorObserver | undefined;
  readonly firstBackoffMs?: number | undefined;
}

/** Makes a queue. */
export function observedQueue(
  { reconcile, log, metrics, firstBackoffMs }: ObservedQueueOptions,
): WorkQueue {
  return new WorkQueue({
    groupOf,
    async work(key) {
      const beganMs = performance.now();
      const { kind, name } = partsOf(key);
      const again = await reconcile(kind, name);
      const seconds = (performance.now() - beganMs) / 1_000;
      metrics?.reconciled(kind, again === undefined ? "done" : "retry", seconds);
      return again;
    },
    failed(key, error) {
      metrics?.reconciled(partsOf(key).kind, "failed", 0);
      const fields = { key, error: messageOf(error) };
      // Somebody else was faster: the next look sees what they did.
      if (isConflict(error)) log.debug("Another write changed an object first", fields);
      else log.warn("Could not reconcile", fields);
      return isPermanent(error);
    },
    ...firstBackoffMs !== undefined && { firstBackoffMs },
  });
}

/**
 * Who an object belongs to: a namespace, whose users say which relays and name servers its work waits
 * for. Each ClusterTunnel is a group of its own.
 */
function groupOf(key: string): string {
  const { kind, name } = partsOf(key);
  return kind === "tunnel" ? ownerOfTunnel(name) : name.split("/")[0]!;
}

function partsOf(key: string): { readonly kind: string; readonly name: string } {
  const colon = key.indexOf(":");
  return { kind: key.slice(0, colon), name: key.slice(colon + 1) };
}
