/** Deletes what deleted tunnels have, outside the cluster and in it. */
import { titleOf } from "../../kube/resources.ts";
import { removeAgents } from "../agents/agent_removal.ts";
import { endpointOf } from "../api/relay.ts";
import { finalizer } from "../api/schema.ts";
import { registeredOf } from "../api/tunnel_binding.ts";
import { no } from "../conditions.ts";
import type { Context } from "../context.ts";
import { isOrphaned, releaseObject, reportOrphaned, retryMs } from "../finalizer.ts";
import { relaysOf, type TunnelMoves } from "./tunnel_moves.ts";
import type { TunnelRegistrations } from "./tunnel_registrations.ts";
import type { TunnelStatuses } from "./tunnel_status.ts";
import type { Tunnel } from "../tunnel.ts";

/** What departures work with. */
export interface TunnelDepartureParts {
  readonly registrations: TunnelRegistrations;
  readonly statuses: TunnelStatuses;
  readonly moves: TunnelMoves;
}

/** What is left at a relay, and why. */
interface Left {
  readonly endpoint: string;
  readonly fault: string;
}

/** Cleans up after deleted tunnels, and removes their finalizers. */
export class TunnelDepartures {
  readonly #context: Context;
  readonly #parts: TunnelDepartureParts;

  constructor(context: Context, parts: TunnelDepartureParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** @returns when to try again; undefined when nothing is left to do */
  async finalize(tunnel: Tunnel): Promise<number | undefined> {
    const { object, status, spec } = tunnel;
    const finalizers = object.metadata.finalizers ?? [];
    if (!finalizers.includes(finalizer)) return undefined;
    // Bindings delete or retain their services first.
    if (this.#hasServices(tunnel.key) && !isOrphaned(this.#context, object)) {
      return retryMs(this.#context);
    }
    if (spec?.deletionPolicy !== "Retain" && status.id !== undefined) {
      const again = await this.#unregister(tunnel, status.id);
      if (again !== undefined) return again;
    }
    await removeAgents(this.#context, tunnel);
    const { namespace } = object.metadata;
    if (namespace !== undefined) await this.#context.accesses.release(namespace);
    await releaseObject(this.#context.client, tunnel.resource, object);
    this.#context.accesses.forget(tunnel.key);
    return undefined;
  }

  /** Deletes the entry at all relays. @returns when to try again; undefined when it is done */
  async #unregister(tunnel: Tunnel, id: string): Promise<number | undefined> {
    if (tunnel.status.endpoint === undefined && !tunnel.status.formerRelays) return undefined;
    const left = await this.#deleteAll(tunnel, id);
    if (left.length > 0 && !isOrphaned(this.#context, tunnel.object)) {
      const { statuses } = this.#parts;
      await statuses.write(tunnel, { Registered: no("CleanUpFailed", left[0]!.fault) }, {});
      return retryMs(this.#context);
    }
    for (const it of left) await this.#abandon(tunnel, id, it);
    // From here on, nobody needs the relay's token.
    const nowhere = { endpoint: undefined, place: undefined, formerRelays: undefined };
    await this.#parts.statuses.record(tunnel, nowhere);
    return undefined;
  }

  /** @returns what could not be deleted */
  async #deleteAll(tunnel: Tunnel, id: string): Promise<readonly Left[]> {
    const { spec, status } = tunnel;
    const api = spec?.relay.registration.api;
    const { formerRelays = [] } = spec ? relaysOf(status, api) : status;
    const faults: [string, string | undefined][] = [];
    const isHere = status.endpoint !== undefined &&
      (!spec || (api && endpointOf(api) === endpointOf({ endpoint: status.endpoint })));
    if (isHere) {
      faults.push([status.endpoint!, await this.#parts.registrations.delete(tunnel, id)]);
    }
    for (const former of formerRelays) {
      faults.push([former.endpoint, await this.#parts.moves.withdraw(tunnel, id, former)]);
    }
    return faults.flatMap(([endpoint, fault]) => fault === undefined ? [] : [{ endpoint, fault }]);
  }

  async #abandon(tunnel: Tunnel, id: string, { endpoint, fault }: Left): Promise<void> {
    await reportOrphaned(this.#context.events, tunnel.resource, tunnel.object, {
      action: "Finalize",
      note: `The entry ${id} at ${endpoint} was left: ${fault}`,
    });
    this.#context.log.warn("A tunnel's entry was left behind at its relay", {
      tunnel: titleOf(tunnel.resource, tunnel.object),
      ...{ id, endpoint, reason: fault },
    });
  }

  #hasServices(tunnelKey: string): boolean {
    return registeredOf(this.#context.caches.values("bindings"))
      .some(({ tunnel }) => tunnel === tunnelKey);
  }
}
