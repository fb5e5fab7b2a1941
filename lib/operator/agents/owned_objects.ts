/** Applies objects that a tunnel owns, unless their names are taken by objects of others. */
import { isOwnedBy as isOwnedByObject, keyOf, type KubeObject } from "../../kube/objects.ts";
import type { Resource } from "../../kube/resources.ts";
import { includes, stamped } from "../applied.ts";
import type { Context } from "../context.ts";
import type { Tunnel } from "../tunnel.ts";
import type { WatchedKind } from "../caches.ts";
import { namesOf } from "./agent_metadata.ts";

/** What objects are made with. */
export type OwnerContext = Pick<Context, "client" | "caches" | "digest">;

/** Somebody else's object has the name that one of ours would have. */
export class NotOurs extends Error {
  override readonly name = "NotOurs";
}

/** Whether the tunnel owns an object. */
export function isOwnedBy(owned: KubeObject, { object }: Tunnel): boolean {
  return isOwnedByObject(owned, object);
}

export function notOurs({ kind }: Resource, name: string): NotOurs {
  return new NotOurs(`${kind} ${name} is there already and belongs to somebody else`);
}

/**
 * Applies an object with the name of the tunnel's agents, or deletes it where none is wanted.
 *
 * @throws {NotOurs}
 */
export async function ensureOptional(
  context: OwnerContext,
  resource: Resource,
  kind: WatchedKind,
  tunnel: Tunnel,
  wanted: KubeObject | undefined,
): Promise<void> {
  if (wanted) {
    await ensureOwned(context, resource, kind, tunnel, wanted);
    return;
  }
  const at = { namespace: tunnel.home, name: namesOf(tunnel).agent };
  const there = context.caches.get(kind, keyOf(at));
  if (!there || !isOwnedBy(there, tunnel)) return;
  await context.client.delete(resource, at, there.metadata.uid!);
}

/** Applies an object unless it is up to date. @throws {NotOurs} if the tunnel does not own it */
export async function ensureOwned(
  context: OwnerContext,
  resource: Resource,
  kind: WatchedKind | undefined,
  tunnel: Tunnel,
  wanted: KubeObject,
): Promise<KubeObject> {
  const object = stamped(wanted, context.digest);
  const { namespace, name } = object.metadata;
  const cached = kind && context.caches.get(kind, keyOf(object.metadata));
  const there = cached ?? await context.client.find(resource, { namespace, name });
  if (there && !isOwnedBy(there, tunnel)) throw notOurs(resource, name);
  // The API server turns stringData into data; the digest in the annotation covers it.
  const { stringData: _, ...visible } = object;
  if (there && includes(there, visible)) return there;
  const written = await context.client.apply(resource, object);
  if (kind) context.caches.learn(kind, written);
  return written;
}
