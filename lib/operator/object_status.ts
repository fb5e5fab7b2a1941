/** Writes the status of our objects. */
import type { EventText } from "../kube/events.ts";
import type { Condition, KubeObject } from "../kube/objects.ts";
import type { Resource } from "../kube/resources.ts";
import { isEqual } from "./applied.ts";
import { conditionsOf, readyOf, type Verdict } from "./conditions.ts";
import type { Context } from "./context.ts";
import type { WatchedKind } from "./caches.ts";

/** What a status is written with. */
export type StatusContext = Pick<Context, "client" | "caches" | "events">;

/** Applies a status unless it is unchanged, and reports changes of `Ready` as Events. */
export async function writeStatus(
  context: StatusContext,
  resource: Resource,
  kind: WatchedKind,
  object: KubeObject,
  status: Readonly<Record<string, unknown>>,
): Promise<void> {
  const before = (object["status"] ?? {}) as { readonly conditions?: readonly Condition[] };
  if (isEqual(before, status)) return;
  const { name, namespace, uid } = object.metadata;
  const written = await context.client.apply(resource, {
    metadata: {
      name,
      ...namespace !== undefined && { namespace },
      ...uid !== undefined && { uid },
    },
    status,
  }, "status");
  context.caches.learn(kind, written);
  await reportReady(context, resource, object, before.conditions, status);
}

/** One Event when an object becomes ready, and one for each new reason why it is not. */
async function reportReady(
  { events }: StatusContext,
  resource: Resource,
  object: KubeObject,
  before: readonly Condition[] | undefined,
  status: Readonly<Record<string, unknown>>,
): Promise<void> {
  const find = (conditions: readonly Condition[] | undefined) =>
    conditions?.find(({ type }) => type === "Ready");
  const last = find(before);
  const now = find(status["conditions"] as readonly Condition[] | undefined);
  if (!now || (last?.status === now.status && last.reason === now.reason)) return;
  const text: EventText = now.status === "True"
    ? { type: "Normal", reason: "Ready", action: "Reconcile", note: "Ready" }
    : { type: "Warning", reason: now.reason, action: "Reconcile", note: now.message };
  // An Unknown status is transient.
  if (now.status === "Unknown") return;
  await events.report(resource, object, text);
}

/** Conditions of an object, `Ready` among them. */
export function conditionsWithReady(
  verdicts: Readonly<Record<string, Verdict>>,
  object: KubeObject,
): Condition[] {
  const { conditions } = (object["status"] ?? {}) as { conditions?: readonly Condition[] };
  const all = { Ready: readyOf(verdicts), ...verdicts };
  return conditionsOf(all, conditions, object.metadata.generation);
}
