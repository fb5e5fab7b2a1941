/** Reconciles a tunnel: its entry at the relay, its token, its agents and their routes. */
import { isConflict, isNamespaceTerminating, isPermanent } from "../../kube/errors.ts";
import { secrets } from "../../kube/resources.ts";
import { messageOf } from "../../message_of.ts";
import { apiServerTarget } from "../agents/agent_objects.ts";
import { AgentRights, notPermitted } from "../agents/agent_rights.ts";
import {
  type AgentToken,
  AgentTokens,
  tokenName,
  tokenSecretPath,
} from "../agents/agent_tokens.ts";
import type { TokenRef } from "../api/relay.ts";
import { finalizer } from "../api/schema.ts";
import type { TunnelStatus } from "../api/tunnel.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import { holdObject, retryMs } from "../finalizer.ts";
import { ReferenceFault } from "../relay/references.ts";
import type { RelayChange } from "../relay/relay_watches.ts";
import { ensureOwned, isOwnedBy, NotOurs, notOurs } from "../agents/owned_objects.ts";
import { askedNames } from "../routes/route_table.ts";
import { TunnelAgents, type TunnelAgentsOptions } from "../agents/tunnel_agents.ts";
import { entrySecret } from "./entry_secret.ts";
import { TunnelDepartures } from "./tunnel_departure.ts";
import { relaysOf, TunnelMoves } from "./tunnel_moves.ts";
import { TunnelRegistrations } from "./tunnel_registrations.ts";
import { kindOf, TunnelStatuses } from "./tunnel_status.ts";
import { idOf, isReadable, type ReadableTunnel, type Tunnel } from "../tunnel.ts";

/** What is made besides what all reconcilers have. */
export interface TunnelReconcilerOptions extends TunnelAgentsOptions {
  readonly newToken: () => string;
}

/** Reconciles tunnels of both kinds. */
export class TunnelReconciler {
  readonly #options: TunnelReconcilerOptions;
  readonly #context: Context;
  readonly #registrations: TunnelRegistrations;
  readonly #agents: TunnelAgents;
  readonly #rights: AgentRights;
  readonly #statuses: TunnelStatuses;
  readonly #moves: TunnelMoves;
  readonly #departures: TunnelDepartures;
  readonly #tokens = new AgentTokens();

  constructor(options: TunnelReconcilerOptions) {
    this.#options = options;
    this.#context = options.context;
    this.#registrations = new TunnelRegistrations(options.context);
    this.#agents = new TunnelAgents(options);
    this.#rights = new AgentRights(options.context);
    this.#statuses = new TunnelStatuses(options.context);
    this.#moves = new TunnelMoves(options.context);
    this.#departures = new TunnelDepartures(options.context, {
      ...{ registrations: this.#registrations, statuses: this.#statuses, moves: this.#moves },
    });
  }

  /** Whether all agents of a tunnel serve a target as it is. */
  serves(tunnelKey: string, target: unknown): boolean {
    return this.#agents.serves(tunnelKey, target);
  }

  /** What the relay last said of a tunnel's registration; undefined before it was asked. */
  registration(tunnelKey: string): Verdict | undefined {
    return this.#registrations.verdict(tunnelKey);
  }

  /**
   * An entry at a relay has changed, or its agents have.
   *
   * @returns the keys of the tunnels that are about it
   */
  changedAtRelay(change: RelayChange): readonly string[] {
    const keys = this.#registrations.changed(change);
    if (change.kind === "agents") keys.forEach((key) => this.#agents.changed(key));
    return keys;
  }

  /** The tunnel is gone from the cluster. */
  forget(tunnelKey: string): void {
    this.#registrations.forget(tunnelKey);
    this.#tokens.forget(tunnelKey);
    this.#agents.forget(tunnelKey);
  }

  /** @returns after how many milliseconds the tunnel wants to be looked at again */
  async reconcile(tunnel: Tunnel): Promise<number | undefined> {
    if (tunnel.isDeleted) {
      const again = await this.#departures.finalize(tunnel);
      if (again === undefined) this.forget(tunnel.key);
      return again;
    }
    if (!isReadable(tunnel)) {
      const message = `The spec can't be read; upgrade the CRDs (${tunnel.specFault})`;
      const verdicts = { Accepted: no("InvalidSpec", message) };
      await this.#statuses.write(tunnel, verdicts, {});
      return undefined;
    }
    if (tunnel.spec.paused) {
      await this.#statuses.write(
        tunnel,
        { Accepted: unknown("Paused", "spec.paused is true") },
        {},
      );
      return undefined;
    }
    return await this.#build(tunnel);
  }

  async #build(tunnel: ReadableTunnel): Promise<number> {
    const id = idOf(tunnel, this.#context.settings.idPrefix);
    const progress: Progress = { id, verdicts: {}, status: this.#agents.status(tunnel) };
    let again = this.#context.settings.checkMs;
    try {
      if (this.#registrations.isLost(tunnel.key)) await this.#writeLost(tunnel, progress);
      await this.#prepare(tunnel, id);
      const token = await this.#token(tunnel, id, progress);
      if (token) {
        await this.#grant(tunnel, progress);
        const state = await this.#agents.ensure(tunnel, id, token);
        const { verdicts, status, againMs } = state;
        progress.verdicts = { ...progress.verdicts, ...verdicts };
        progress.status = { ...progress.status, ...status };
        again = Math.min(again, againMs);
        await this.#withdraw(tunnel, progress);
        again = Math.min(again, await this.#leave(tunnel, progress, state.isRolledOut));
      }
    } catch (error) {
      if (isNamespaceTerminating(error)) return again;
      progress.verdicts = { ...progress.verdicts, AgentAvailable: faultVerdict(error) };
      if (!(error instanceof NotOurs) && !isPermanent(error)) {
        await this.#statuses.write(tunnel, progress.verdicts, progress.status);
        throw error;
      }
    }
    await this.#statuses.write(tunnel, progress.verdicts, progress.status);
    const waitMs = (this.#registrations.untilMs(tunnel.key) ?? Infinity) - performance.now();
    return Math.max(100, Math.min(again, waitMs));
  }

  /** Reports a lost entry before registering it again, which may be refused. */
  async #writeLost(tunnel: ReadableTunnel, { status }: Progress): Promise<void> {
    const { conditions = [], tokenSecret, routes, routesHash } = tunnel.status;
    const others = conditions.filter(({ type }) => !["Ready", "Registered"].includes(type))
      .map(({ type, status, reason, message }) => [type, { status, reason, message }]);
    const lost = no("NotFound", "The entry is gone from the relay; the operator restores it");
    await this.#statuses.write(tunnel, { Registered: lost, ...Object.fromEntries(others) }, {
      ...status,
      ...tokenSecret !== undefined && { tokenSecret },
      ...routes !== undefined && { routes },
      ...routesHash !== undefined && { routesHash },
    });
  }

  /** Records what clean-up needs before anything is created at the relay. */
  async #prepare(tunnel: ReadableTunnel, id: string): Promise<void> {
    const { resource, object, status, spec: { relay: { registration: { api } } } } = tunnel;
    if (!api && status.endpoint === undefined) return;
    const isHeld = object.metadata.finalizers?.includes(finalizer) ?? false;
    const found = api && await this.#context.accesses.find(tunnel);
    // Without credentials, nothing is created at the relay.
    if (found && "fault" in found) return;
    const place = api && { ...api, tokenVersion: found?.tokenVersion };
    const relays = { id, ...relaysOf(status, place) };
    if (!isHeld) await holdObject(this.#context, resource, kindOf(tunnel), object);
    await this.#statuses.record(tunnel, relays);
  }

  /** Cleans up at former relays. @returns milliseconds until the next try; Infinity if done */
  async #leave(tunnel: ReadableTunnel, progress: Progress, isRolledOut: boolean): Promise<number> {
    if ((tunnel.status.formerRelays ?? []).length === 0) return Infinity;
    const isConnected = progress.verdicts["Connected"]?.status === "True";
    const left = await this.#moves.advance(tunnel, { id: progress.id, isConnected, isRolledOut });
    const formerRelays = left.length > 0 ? [...left] : undefined;
    progress.status = { ...progress.status, formerRelays };
    return formerRelays ? retryMs(this.#context) : Infinity;
  }

  /** Binds the ClusterRole for callers of `kubernetesApi`. */
  async #grant(tunnel: ReadableTunnel, progress: Progress): Promise<void> {
    const { kubernetesApi: { clusterRole } = {} } = tunnel.spec;
    if (clusterRole === undefined) return;
    const isPermitted = this.#rights.permits(clusterRole);
    if (isPermitted) await this.#statuses.record(tunnel, { clusterRole });
    progress.verdicts = {
      ...progress.verdicts,
      ClusterRoleBound: isPermitted
        ? await this.#rights.ensure(tunnel, clusterRole)
        : notPermitted(clusterRole),
    };
  }

  /** Deletes role bindings that the spec no longer allows. */
  async #withdraw(tunnel: ReadableTunnel, progress: Progress): Promise<void> {
    if (tunnel.status.clusterRole === undefined) return;
    const fault = await this.#rights.withdraw(tunnel);
    const { clusterRole } = tunnel.spec.kubernetesApi ?? {};
    if (fault) progress.verdicts = { ...progress.verdicts, ClusterRoleBound: fault };
    else if (clusterRole === undefined || !this.#rights.permits(clusterRole)) {
      progress.status = { ...progress.status, clusterRole: undefined };
    }
  }

  /** The agents' token; undefined where agents could not use one. */
  async #token(
    tunnel: ReadableTunnel,
    id: string,
    progress: Progress,
  ): Promise<AgentToken | undefined> {
    const { registration } = tunnel.spec.relay;
    if (registration.existing) {
      return await this.#existingToken(tunnel, registration.existing.tokenRef, progress);
    }
    const at = tokenSecretPath(tunnel);
    const secret = await this.#context.client.find(secrets, at);
    if (secret && !isOwnedBy(secret, tunnel)) throw notOurs(secrets, at.name);
    const found = await this.#tokens.ensure(tunnel, secret, {
      context: this.#context,
      newToken: this.#options.newToken,
      register: (digests) => this.#register(tunnel, id, digests, progress),
      hasAgents: this.#agents.isThere(tunnel),
    });
    if (!found) return undefined;
    progress.status = {
      ...progress.status,
      tokenSecret: at.name,
      tokenDigests: [...found.digests],
    };
    return found;
  }

  async #existingToken(
    { home }: ReadableTunnel,
    ref: TokenRef,
    progress: Progress,
  ): Promise<AgentToken | undefined> {
    const { accesses, digest: digestOf } = this.#context;
    try {
      const digest = digestOf(await accesses.references.token(home, ref));
      const message = "The relay's configuration has the entry";
      progress.verdicts = { Registered: yes("ExistingToken", message) };
      return { digest, digests: [digest] };
    } catch (error) {
      if (!(error instanceof ReferenceFault)) throw error;
      progress.verdicts = { Registered: error.verdict };
      return undefined;
    }
  }

  /** Registers the tunnel. @returns what came of it */
  async #register(
    tunnel: ReadableTunnel,
    id: string,
    digests: readonly string[],
    progress: Progress,
  ): Promise<Verdict> {
    const { relay: { registration }, sidecar } = tunnel.spec;
    const entry = {
      tokens: digests.map((tokenSha256) => ({ name: tokenName(tokenSha256), tokenSha256 })),
      ...tunnel.spec.kubernetesApi && { targetAddr: apiServerTarget },
      // What agents in pods may ask for.
      ...sidecar.hostnames && { hostnames: sidecar.hostnames, policy: tunnel.spec.defaultPolicy },
    };
    if (registration.secret) {
      const targets = askedNames(await this.#agents.table(tunnel));
      await ensureOwned(this.#context, secrets, undefined, tunnel, {
        ...entrySecret(tunnel, registration.secret.name, { id, ...entry }, targets),
      });
      const message = `Add the entry in Secret ${registration.secret.name} to the relay's clusters`;
      const written = yes("EntryWritten", message);
      progress.verdicts = { Registered: written };
      return written;
    }
    const verdict = await this.#registrations.put(tunnel, id, entry);
    progress.verdicts = { Registered: verdict };
    return verdict;
  }
}

interface Progress {
  readonly id: string;
  verdicts: Readonly<Record<string, Verdict>>;
  status: TunnelStatus;
}

function faultVerdict(error: unknown): Verdict {
  if (error instanceof NotOurs) return no("Conflict", error.message);
  if (isPermanent(error)) return no("Invalid", (error as Error).message);
  const isWaiting = isConflict(error);
  return isWaiting ? unknown("Retrying", "Another write changed an object first") : unknown(
    "ApiServerError",
    messageOf(error),
  );
}
