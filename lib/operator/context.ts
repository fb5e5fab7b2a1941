/** What all reconcilers work with. */
import type { KubeClient } from "../kube/client.ts";
import { isConflict, isNotFound } from "../kube/errors.ts";
import type { EventRecorder, EventText } from "../kube/events.ts";
import { type Condition, keyOf, type KubeObject } from "../kube/objects.ts";
import type { Resource } from "../kube/resources.ts";
import type { Log } from "../log.ts";
import { isEqual } from "./applied.ts";
import { conditionsOf, readyOf, type Verdict } from "./conditions.ts";
import type { Digest } from "./digest.ts";
import type { RelayAccesses } from "./relay/relay_accesses.ts";
import type { Cloudflare } from "./dns/cloudflare.ts";
import type { Rfc2136 } from "./dns/rfc2136.ts";
import type { RelayApi } from "./relay/relay_api.ts";
import type { RouteTable } from "./routes/route_table.ts";
import { finalizer } from "./api/schema.ts";
import type { Tunnel } from "./tunnel.ts";
import type { Followed, World } from "./world.ts";

/** Settings of the operator. */
export interface OperatorSettings {
  /** Where ClusterTunnels' objects are, and the Lease. */
  readonly namespace: string;
  readonly idPrefix: string;
  readonly agentImage: string;
  /** The ClusterRoles that agents' ServiceAccounts may be bound to. */
  readonly agentClusterRoles: readonly string[];
  /** Whether Tunnels' status says what is added to pods, for a MutatingAdmissionPolicy. */
  readonly hasInjectionPolicy?: boolean;
  /** How often what is at relays and in DNS is looked at again. */
  readonly resyncMs: number;
  /** How often Secrets are looked at that nothing tells about. */
  readonly checkMs: number;
  /** How long agents may take to serve new routes; a minute unless given. */
  readonly takeMs?: number;
  /** How long a clean-up may be refused before the object is let go. */
  readonly orphanMs: number;
}

/** Parts that reconcilers share. */
export interface Context {
  readonly client: KubeClient;
  readonly world: World;
  readonly relays: RelayApi;
  readonly accesses: RelayAccesses;
  readonly events: EventRecorder;
  readonly log: Log;
  readonly settings: OperatorSettings;
  readonly digest: Digest;
  readonly dns: Rfc2136;
  readonly cloudflare: Cloudflare;
  readonly routes: () => RouteTable;
  /** A tunnel as it is now, by its key. */
  readonly tunnel: (key: string) => Tunnel | undefined;
}

/** What a status is written with. */
export type StatusContext = Pick<Context, "client" | "world" | "events">;

/** Applies a status if it says something new, and reports what became of `Ready`. */
export async function writeStatus(
  context: StatusContext,
  resource: Resource,
  kind: Followed,
  object: KubeObject,
  status: Readonly<Record<string, unknown>>,
): Promise<void> {
  const before = (object["status"] ?? {}) as { readonly conditions?: readonly Condition[] };
  const wanted = { ...status };
  if (isEqual(before, wanted)) return;
  const { name, namespace, uid } = object.metadata;
  const written = await context.client.apply(resource, {
    metadata: {
      name,
      ...namespace !== undefined && { namespace },
      ...uid !== undefined && { uid },
    },
    status: wanted,
  }, "status");
  context.world.learn(kind, written);
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
  // What only takes its time is no news.
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

/** Puts our finalizer on an object. */
export async function holdObject(
  { client, world }: StatusContext,
  resource: Resource,
  kind: Followed,
  { metadata }: KubeObject,
): Promise<void> {
  const { name, namespace, uid = "" } = metadata;
  const finalizers = [finalizer];
  const written = await client.apply(resource, {
    metadata: { name, ...namespace !== undefined && { namespace }, uid, finalizers },
  }, "finalizers");
  world.learn(kind, written);
}

/** How often an object that changes meanwhile is read anew. */
const maxReleases = 5;

/** Takes our finalizer off an object, whoever put it there; those of others stay. */
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

/** Whether the clean-up of a deleted object has failed for so long that the object is let go. */
export function isOrphaned({ settings }: Context, { metadata }: KubeObject): boolean {
  const sinceMs = Date.now() - Date.parse(metadata.deletionTimestamp ?? "");
  return sinceMs >= settings.orphanMs;
}

const maxRetryMs = 2_000;

/** How often a failed clean-up is retried. */
export function retryMs({ settings }: Pick<Context, "settings">): number {
  return Math.min(maxRetryMs, settings.checkMs);
}

/** For messages: `Tunnel apps/home`. */
export function titleOf(resource: Resource, { metadata }: KubeObject): string {
  return `${resource.kind} ${keyOf(metadata)}`;
}
