/**
 * Moves Tunnels between relays. What a tunnel has at its former relay is deleted once its agents are
 * connected to the new one; until then, the status names the former relay.
 */
import { endpointOf, type FormerRelay, type RelayPlace } from "../api/relay.ts";
import type { TunnelStatus } from "../api/tunnel.ts";
import { registeredOf } from "../api/tunnel_binding.ts";
import type { Context } from "../context.ts";
import { reportOrphaned } from "../finalizer.ts";
import type { OwnedAccess } from "../relay/relay_accesses.ts";
import { RelayRefusal, RelayUnreachable } from "../relay/relay_api.ts";
import type { Tunnel } from "../tunnel.ts";

/** Former relays that the status remembers. */
const maxFormer = 8;

/** The facts that decide about a move. */
export interface Arrival {
  /** The tunnel's id, which is the same at all relays. */
  readonly id: string;
  /** Whether agents are connected at the new relay. */
  readonly isConnected: boolean;
  /** Whether none runs that may still be connected at the relay before. */
  readonly isRolledOut: boolean;
}

/** What the status is to say of a tunnel's relays before anything is put at the one of its spec. */
export function relaysOf(
  { endpoint, place, formerRelays = [] }: TunnelStatus,
  now: RelayPlace | undefined,
): Pick<TunnelStatus, "endpoint" | "place" | "formerRelays"> {
  const isElsewhere = (before: Pick<RelayPlace, "endpoint">) =>
    now === undefined || endpointOf(before) !== endpointOf(now);
  // Older operators did not record how they reached the relay.
  const last = endpoint === undefined
    ? undefined
    : place ?? (now && { ...now, endpoint, tokenVersion: undefined });
  const former = [...formerRelays, ...last ? [last] : []].filter(isElsewhere).slice(-maxFormer);
  return {
    endpoint: now?.endpoint,
    place: now,
    formerRelays: former.length > 0 ? former : undefined,
  };
}

/**
 * What a tunnel has at an endpoint: `own` where it is registered, `former` where it still is and will
 * stay until it has arrived elsewhere, `leaving` where everything of it is to go, and `none`.
 */
export type Standing = "own" | "former" | "leaving" | "none";

/** What a tunnel has at an endpoint. */
export function standingAt({ spec, status, isDeleted }: Tunnel, endpoint: string): Standing {
  const former = status.formerRelays?.find((it) => endpointOf(it) === endpoint);
  if (former) return former.isLeft || isDeleted ? "leaving" : "former";
  const api = spec?.relay.registration.api;
  if (!spec || (api && endpointOf(api) === endpoint)) return "own";
  // The move is not in the status yet.
  const isLast = status.endpoint !== undefined &&
    endpointOf({ endpoint: status.endpoint }) === endpoint;
  if (!isLast) return "none";
  return isDeleted ? "leaving" : "former";
}

/** Deletes tunnels from their former relays. */
export class TunnelMoves {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Continues a move. @returns the former relays that still have something of the tunnel */
  async advance(tunnel: Tunnel, arrival: Arrival): Promise<readonly FormerRelay[]> {
    const left: FormerRelay[] = [];
    for (const before of tunnel.status.formerRelays ?? []) {
      const after = arrival.isConnected || before.since !== undefined
        ? await this.#leave(tunnel, before, arrival)
        : before;
      if (after) left.push(after);
    }
    return left;
  }

  /** Deletes a deleted tunnel's entry at a former relay. @returns why it could not */
  async withdraw(tunnel: Tunnel, id: string, before: FormerRelay): Promise<string | undefined> {
    return await this.#asking(tunnel, before, async ({ access, owner }) => {
      await this.#context.relays.delete(access, "clusters", id, owner);
    });
  }

  async #leave(
    tunnel: Tunnel,
    before: FormerRelay,
    { id, isConnected, isRolledOut }: Arrival,
  ): Promise<FormerRelay | undefined> {
    const { since = new Date().toISOString() } = before;
    const isLate = Date.now() - Date.parse(since) >= this.#context.settings.orphanMs;
    let after: FormerRelay = { ...before, since };
    if (!after.isLeft) {
      if (!isLate && !(isConnected && isRolledOut)) return after;
      let isSame = false;
      const fault = await this.#asking(tunnel, before, async (there) => {
        isSame = await this.#isSameRelay(tunnel, there, id);
      });
      if (isSame) return undefined;
      if (fault !== undefined) {
        return isLate ? await this.#abandon(tunnel, id, after, fault) : after;
      }
      after = { ...after, isLeft: true };
    }
    // The relay refuses while the bindings' services exist.
    if (!isLate && this.#hasServicesAt(tunnel.key, before)) return after;
    const fault = await this.withdraw(tunnel, id, before);
    if (fault === undefined) return undefined;
    return isLate ? await this.#abandon(tunnel, id, after, fault) : after;
  }

  /** Whether two endpoints lead to one relay: then both list the same sessions. */
  async #isSameRelay(tunnel: Tunnel, there: OwnedAccess, id: string): Promise<boolean> {
    const { accesses, relays } = this.#context;
    const here = tunnel.spec?.relay.registration.api ? await accesses.find(tunnel) : undefined;
    if (!here || "fault" in here) return false;
    // Sessions may come and go meanwhile.
    const first = await relays.sessions(here.access, id);
    const others = await relays.sessions(there.access, id);
    const own = new Set([...first, ...await relays.sessions(here.access, id)].map(({ id }) => id));
    return others.some(({ id }) => own.has(id));
  }

  #hasServicesAt(tunnelKey: string, before: FormerRelay): boolean {
    return registeredOf(this.#context.caches.values("bindings")).some(({ tunnel, endpoint }) =>
      tunnel === tunnelKey && endpoint === endpointOf(before)
    );
  }

  /** @returns why the relay could not be asked; 404 counts as success */
  async #asking(
    tunnel: Tunnel,
    before: FormerRelay,
    ask: (access: OwnedAccess) => Promise<void>,
  ): Promise<string | undefined> {
    const { accesses } = this.#context;
    try {
      const found = await accesses.former(tunnel, before);
      if ("fault" in found) return found.fault.message;
      await ask(found);
      return undefined;
    } catch (error) {
      if (error instanceof RelayUnreachable) return error.message;
      if (!(error instanceof RelayRefusal)) throw error;
      return error.status === 404 ? undefined : error.message;
    }
  }

  async #abandon(tunnel: Tunnel, id: string, before: FormerRelay, fault: string) {
    await reportOrphaned(this.#context.events, tunnel.resource, tunnel.object, {
      action: "Reconcile",
      note: `The entry ${id} at ${before.endpoint} was left: ${fault}`,
    });
    return undefined;
  }
}
