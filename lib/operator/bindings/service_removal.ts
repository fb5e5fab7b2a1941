/** Takes services off at relays that their binding does not want any more. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import type { Context } from "../context.ts";
import type { CompiledBinding } from "../routes/route_table.ts";
import { boundTunnelKey } from "../tunnel.ts";
import { statusOf } from "./binding_status.ts";
import { isGivenUp } from "./orphaned_binding.ts";
import type { Registered, RelayServices } from "./relay_services.ts";

/** Deletes services that no other binding has. */
export class ServiceRemoval {
  readonly #context: Context;
  readonly #services: RelayServices;
  readonly #freed: (services: readonly string[]) => void;

  /** @param freed Hears of services that were refused for one that is gone now. */
  constructor(
    context: Context,
    services: RelayServices,
    freed: (services: readonly string[]) => void,
  ) {
    this.#context = context;
    this.#services = services;
    this.#freed = freed;
  }

  /** Deletes services at relays. @returns those that could not be deleted */
  async removeAll(
    object: KubeObject,
    unwanted: readonly Registered[],
    { wanted = [], drains }: {
      readonly wanted?: readonly Registered[];
      /** Whether requests in flight may finish first. */
      readonly drains: (service: string) => boolean;
    },
  ): Promise<readonly Registered[]> {
    const left: Registered[] = [];
    const isAwaited = this.#isAwaited(object);
    for (const registered of unwanted) {
      const isReplaced = wanted.some((it) =>
        it.service === registered.service && it.endpoint === registered.endpoint
      );
      if (!isReplaced && this.#isKept(object, registered)) continue;
      const mayDrain = !isAwaited && drains(registered.service);
      const fault = await this.#services.remove(object, registered, {
        isReplaced,
        drains: mayDrain,
      });
      const isGone = fault === undefined ||
        isGivenUp(this.#context, object, registered.service, fault);
      if (isGone) this.#freed(this.#services.freed(registered.endpoint));
      if (!isGone) left.push(registered);
    }
    return left;
  }

  /**
   * Whether another binding has a service too, and takes it off when it does not want it any more. One
   * that has a part in it, and does not want it, takes it off itself.
   */
  #isKept({ metadata }: KubeObject, { service, endpoint }: Registered): boolean {
    const isOf = ({ routes }: CompiledBinding) =>
      routes.some(({ publication }) => publication?.service === service);
    const { bindings } = this.#context.routes();
    const own = bindings.get(keyOf(metadata));
    // What is being deleted may still be in the table.
    if (own && metadata.deletionTimestamp === undefined && isOf(own)) return false;
    return [...bindings.values()].some((it) => {
      if (it === own || !isOf(it)) return false;
      const { key } = it;
      const other = this.#context.caches.get("bindings", key);
      return other !== undefined && other.metadata.deletionTimestamp === undefined &&
        (statusOf(other).registered ?? []).some((it) =>
          it.service === service && it.endpoint === endpoint
        );
    });
  }

  /** Whether another binding of the tunnel waits for hostnames that this one had. */
  #isAwaited(object: KubeObject): boolean {
    const own = keyOf(object.metadata);
    const ownTunnel = boundTunnelKey(object);
    const hostnames = new Set((statusOf(object).hostnames ?? "").split(","));
    return [...this.#context.routes().bindings.values()].some(({ key, tunnel, routes }) =>
      key !== own && tunnel?.key === ownTunnel &&
      routes.some(({ accepted, spec }) =>
        accepted.status === "True" && spec.hostnames.some((name) => hostnames.has(name))
      )
    );
  }
}
