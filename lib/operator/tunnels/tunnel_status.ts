/** Writes the status of tunnels, which records what clean-up needs. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import type { TunnelStatus } from "../api/tunnel.ts";
import { isEqual } from "../applied.ts";
import type { Verdict } from "../conditions.ts";
import type { Context } from "../context.ts";
import { type Sidecars, sidecarsOf } from "../injection/sidecar.ts";
import { conditionsWithReady, writeStatus } from "../object_status.ts";
import { isReadable, type Tunnel } from "../tunnel.ts";
import type { WatchedKind } from "../caches.ts";

/** Where the caches have a tunnel. */
export function kindOf({ resource }: Tunnel): WatchedKind {
  return resource.isNamespaced ? "tunnels" : "clusterTunnels";
}

/** Fields that stay as they are unless a reconciliation sets them. */
const kept = ["id", "endpoint", "place", "formerRelays", "clusterRole", "tokenDigests"] as const;

/** Writes them. */
export class TunnelStatuses {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  /** The object, which may have been written to since it was read. */
  latest(tunnel: Tunnel): KubeObject {
    const key = keyOf(tunnel.object.metadata);
    return this.#context.caches.get(kindOf(tunnel), key) ?? tunnel.object;
  }

  /** Whether the status has these fields. */
  says(tunnel: Tunnel, what: TunnelStatus): boolean {
    const status = (this.latest(tunnel)["status"] ?? {}) as TunnelStatus;
    return Object.entries(what).every(([field, value]) =>
      isEqual(status[field as keyof TunnelStatus], value)
    );
  }

  /** Writes fields of the status, unless it has them already. */
  async record(tunnel: Tunnel, what: TunnelStatus): Promise<void> {
    if (this.says(tunnel, what)) return;
    const object = this.latest(tunnel);
    const status = (object["status"] ?? {}) as TunnelStatus;
    const { name, namespace, uid = "" } = object.metadata;
    const written = await this.#context.client.apply(tunnel.resource, {
      metadata: { name, ...namespace !== undefined && { namespace }, uid },
      status: { ...status, ...what },
    }, "status");
    this.#context.caches.learn(kindOf(tunnel), written);
  }

  /** Writes the whole status. A field that is undefined is removed. */
  async write(
    tunnel: Tunnel,
    verdicts: Readonly<Record<string, Verdict>>,
    status: TunnelStatus,
  ): Promise<void> {
    const object = this.latest(tunnel);
    const { generation } = tunnel.object.metadata;
    const before = (object["status"] ?? {}) as TunnelStatus;
    const sidecar = this.#sidecars(tunnel);
    await writeStatus(this.#context, tunnel.resource, kindOf(tunnel), object, {
      ...generation !== undefined && { observedGeneration: generation },
      ...Object.fromEntries(kept.map((field) => [field, before[field]])),
      ...sidecar && { sidecar },
      ...status,
      conditions: conditionsWithReady(verdicts, object),
    });
  }

  /** What a MutatingAdmissionPolicy adds to pods of the tunnel's namespace. */
  #sidecars(tunnel: Tunnel): Sidecars | undefined {
    const { hasInjectionPolicy, agentImage } = this.#context.settings;
    const isInjected = hasInjectionPolicy && tunnel.resource.isNamespaced && isReadable(tunnel);
    return isInjected ? sidecarsOf(tunnel, agentImage) : undefined;
  }
}
