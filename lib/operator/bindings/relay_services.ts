/** Creates and deletes the bindings' services and policies at relays. */
import type { KubeObject } from "../../kube/objects.ts";
import { endpointOf } from "../api/relay.ts";
import type { BindingStatus } from "../api/tunnel_binding.ts";
import { no, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import type { Digest } from "../digest.ts";
import { LastAnswers } from "../last_answers.ts";
import type { OwnedAccess } from "../relay/relay_accesses.ts";
import {
  connectionKey,
  type RelayAccess,
  RelayRefusal,
  RelayUnreachable,
} from "../relay/relay_api.ts";
import type { RelayPolicy } from "../access_policies/relay_policies.ts";
import type { RelayChange } from "../relay/relay_watches.ts";
import { type Standing, standingAt } from "../tunnels/tunnel_moves.ts";

/** What a relay may have for a binding, as the binding's status has it. */
export type Registered = NonNullable<BindingStatus["registered"]>[number];

/** One service as the relay is to have it. */
export interface WantedService {
  readonly registered: Registered;
  readonly policy: RelayPolicy | undefined;
  readonly access: RelayAccess;
  readonly entry: Readonly<Record<string, unknown>>;
}

/** What the relay last answered for a service. */
export interface Answer {
  readonly digest: string;
  /** The {@link connectionKey} of the request. */
  readonly connection: string;
  readonly verdict: Verdict;
  readonly saidMs: number;
  /** When the relay may be asked again. */
  readonly untilMs: number;
}

export const refusalMs = 5 * 60_000;
/** A change at the relay that is told so soon after a PUT is that PUT's. */
const ownChangeMs = 5_000;

/** How long requests in flight may take to finish after agents have dropped the service. */
const drainMs = 30_000;

/** How a service is deleted. */
export interface Removal {
  /** The service stays under another policy; only this policy is deleted. */
  readonly isReplaced: boolean;
  /** Agents have dropped its target and refuse new requests; those in flight may finish. */
  readonly drains: boolean;
}

/** Creates and deletes services. */
export class RelayServices {
  readonly #context: Context;
  /** The relay's last answers, by endpoint and service. */
  readonly #answers = new LastAnswers<Answer>();
  /** How long requests in flight may take, for each endpoint and service that is to be deleted. */
  readonly #leaving = new LastAnswers<{ readonly untilMs: number }>();
  /** How many services have been deleted at relays. */
  #removals = 0;

  constructor(context: Context) {
    this.#context = context;
  }

  /**
   * Somebody has changed a service at a relay: it is put again with the next look.
   *
   * @returns whether it is one that was put from here, and by somebody else
   */
  isForeignChange({ endpoint, connection, name: service, type }: RelayChange): boolean {
    const isGone = type === "DELETED";
    const key = `${endpoint} ${service}`;
    const known = this.#answers.get(key);
    if (known?.connection !== connection) return false;
    if (!isGone && performance.now() - known.saidMs < ownChangeMs) return false;
    this.#answers.delete(key);
    return true;
  }

  /**
   * A service is gone from a relay, and its hostnames with it: those that were refused for a conflict
   * are put again with the next look.
   *
   * @param connection Of the watch that told of it; undefined if this operator has removed it.
   * @returns their names
   */
  freed(endpoint: string, connection?: string): readonly string[] {
    this.#removals++;
    const services: string[] = [];
    for (const [key, { verdict, connection: asked }] of this.#answers) {
      if (connection !== undefined && connection !== asked) continue;
      if (verdict.reason !== "Conflict" || !key.startsWith(`${endpoint} `)) continue;
      this.#answers.delete(key);
      services.push(key.slice(endpoint.length + 1));
    }
    return services;
  }

  /** Puts a service, unless the relay has it as it is. */
  async put(
    { access, registered: { service, endpoint }, entry, policy }: WantedService,
  ): Promise<Answer> {
    this.#leaving.delete(`${endpoint} ${service}`);
    const key = `${endpoint} ${service}`;
    const digest = this.#context.digest(JSON.stringify([access.token, entry, policy]));
    const last = this.#answers.get(key);
    if (last?.digest === digest && performance.now() < last.untilMs) return last;
    const removals = this.#removals;
    const { verdict, forMs } = await this.#ask(access, service, entry, policy);
    // The conflicting service may have been deleted during the request, which no later change reports.
    const isOld = verdict.reason === "Conflict" && removals !== this.#removals;
    const saidMs = performance.now();
    const kept = {
      digest,
      connection: connectionKey(access),
      verdict,
      saidMs,
      untilMs: saidMs + (isOld ? 0 : forMs),
    };
    this.#answers.set(key, kept);
    return kept;
  }

  async #ask(
    access: RelayAccess,
    service: string,
    entry: WantedService["entry"],
    policy: RelayPolicy | undefined,
  ): Promise<{ verdict: Verdict; forMs: number }> {
    const { settings } = this.#context;
    try {
      if (policy) {
        const fault = await this.#putPolicy(access, service, policy);
        if (fault) return { verdict: fault, forMs: refusalMs };
      }
      const refusal = await this.#putService(access, service, entry);
      return refusal
        ? { verdict: refused(refusal), forMs: refusalMs }
        : { verdict: yes("Programmed"), forMs: settings.resyncMs };
    } catch (error) {
      if (error instanceof RelayRefusal) return { verdict: refused(error), forMs: refusalMs };
      if (!(error instanceof RelayUnreachable)) throw error;
      return { verdict: unreachable(access, error), forMs: error.retryAfterMs };
    }
  }

  /**
   * Puts the entry of a service. If the relay refuses it, the service must not remain published under a
   * policy that the route does not have any more.
   *
   * @returns why it was refused
   */
  async #putService(
    access: RelayAccess,
    service: string,
    entry: WantedService["entry"],
  ): Promise<RelayRefusal | undefined> {
    const { relays } = this.#context;
    try {
      await relays.put(access, "services", service, entry);
      return undefined;
    } catch (error) {
      if (!(error instanceof RelayRefusal) || error.status === 401) throw error;
      const there = await relays.find(access, "services", service);
      if (there && there["policy"] !== entry["policy"]) {
        await relays.delete(access, "services", service, String(entry["owner"]));
      }
      return error;
    }
  }

  /**
   * Puts the policy of a service. If the relay refuses it, the service must not stay published under the
   * previous policy.
   *
   * @returns why it was refused
   */
  async #putPolicy(
    access: RelayAccess,
    service: string,
    { name, entry }: RelayPolicy,
  ): Promise<Verdict | undefined> {
    const { relays } = this.#context;
    try {
      await relays.put(access, "policies", name, entry);
      return undefined;
    } catch (error) {
      if (!(error instanceof RelayRefusal) || error.status === 401) throw error;
      await relays.delete(access, "services", service, String(entry["owner"]));
      return no("PolicyRefused", `The relay refuses the AccessPolicies: ${error.message}`);
    }
  }

  /**
   * Deletes a service at its relay.
   *
   * @param object The binding that it belongs to.
   * @returns why it may still be there; undefined once it is gone
   */
  async remove(
    object: KubeObject,
    { service, tunnel, endpoint, policy }: Registered,
    { isReplaced, drains }: Removal,
  ): Promise<string | undefined> {
    const { relays, digest } = this.#context;
    const key = `${endpoint} ${service}`;
    if (this.#standingOf({ tunnel, endpoint }) === "none") return undefined;
    const found = await this.#accessTo(tunnel, endpoint);
    const isThere = found !== undefined && found.access.endpoint === endpoint;
    if (!isThere) return "the relay's token is not there";
    try {
      const owner = ownerOfServices(found.owner, object, digest);
      const open = drains && !isReplaced ? await this.#openRequests(found.access, service) : 0;
      if (open > 0) return `${open} requests of it are under way`;
      if (!isReplaced) await relays.delete(found.access, "services", service, owner);
      if (policy !== undefined) await relays.delete(found.access, "policies", policy, owner);
      this.#answers.delete(key);
      this.#leaving.delete(key);
      return undefined;
    } catch (error) {
      if (!(error instanceof RelayRefusal) && !(error instanceof RelayUnreachable)) throw error;
      return error.message;
    }
  }

  /** Requests in flight of a service that is to be deleted; 0 after the time limit. */
  async #openRequests(access: RelayAccess, service: string): Promise<number> {
    const { relays } = this.#context;
    const key = `${access.endpoint} ${service}`;
    const nowMs = performance.now();
    const { untilMs } = this.#leaving.get(key) ?? { untilMs: nowMs + drainMs };
    this.#leaving.set(key, { untilMs });
    if (nowMs >= untilMs) return 0;
    try {
      const entry = await relays.find(access, "services", service);
      if (!entry) return 0;
      return await relays.openRequests(access, String(entry["cluster"]), service);
    } catch (error) {
      // Its cluster is gone, or the relay does not tell.
      if (error instanceof RelayRefusal) return 0;
      throw error;
    }
  }

  /** Whether a service stays at a former relay until the tunnel's move is complete. */
  isWaiting(registered: Pick<Registered, "tunnel" | "endpoint">): boolean {
    return this.#standingOf(registered) === "former";
  }

  #standingOf({ tunnel, endpoint }: Pick<Registered, "tunnel" | "endpoint">): Standing {
    const there = this.#context.tunnel(tunnel);
    return there ? standingAt(there, endpoint) : "own";
  }

  /** A tunnel's access to a relay, or the last one if the tunnel is gone. */
  async #accessTo(tunnelKey: string, endpoint: string): Promise<OwnedAccess | undefined> {
    const { accesses, tunnel } = this.#context;
    const there = tunnel(tunnelKey);
    if (!there) return accesses.last(tunnelKey);
    const { place, formerRelays = [] } = there.status;
    const former = [...formerRelays, ...place ? [place] : []].find((it) =>
      endpointOf(it) === endpoint
    );
    if (former && standingAt(there, endpoint) === "leaving") {
      const found = await accesses.former(there, former);
      return "access" in found ? found : undefined;
    }
    const found = await accesses.find(there);
    return "access" in found ? found : accesses.last(tunnelKey);
  }
}

/**
 * The owner of services at the relay, which takes at most 253 characters: bindings of one namespace may
 * share a service.
 */
export function ownerOfServices(
  tunnelOwner: string,
  { metadata: { namespace = "" } }: KubeObject,
  digest: Digest,
): string {
  return `${tunnelOwner}/${digest(namespace).slice(0, 32)}`;
}

/** Whether two services are one, with the same policy. */
export function isSame(one: Registered, other: Registered): boolean {
  return one.service === other.service && one.endpoint === other.endpoint &&
    one.tunnel === other.tunnel && one.policy === other.policy;
}

/** What one or the other list has. */
export function union(
  one: readonly Registered[],
  other: readonly Registered[],
): readonly Registered[] {
  return [...one, ...other.filter((it) => !one.some((known) => isSame(known, it)))];
}

/** The verdict for a relay's refusal. */
export function refused({ status, code, message }: RelayRefusal): Verdict {
  if (status === 409) return no("Conflict", message);
  if (status === 403) return no("HostnameNotPermitted", message);
  if (status === 401) return no("Unauthorized", `The relay does not know the token: ${message}`);
  return no("Refused", code === "" ? message : `${code}: ${message}`);
}

/** The verdict for a relay that can't be reached. */
export function unreachable({ endpoint }: RelayAccess, { message }: RelayUnreachable): Verdict {
  return no("RelayUnreachable", `At ${endpoint}: ${message}`);
}
