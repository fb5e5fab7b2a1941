/** The services that the relay should have for a binding's routes, and why other routes have none. */
import type { KubeObject } from "../../kube/objects.ts";
import type { BindingStatus } from "../api/tunnel_binding.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import type { FoundAccess } from "../relay/relay_accesses.ts";
import { type RelayAccess, RelayRefusal, RelayUnreachable } from "../relay/relay_api.ts";
import type { AccessRules } from "../access_policies/route_access.ts";
import { RelayPolicies, type RelayPolicy } from "../access_policies/relay_policies.ts";
import {
  ownerOfServices,
  refusalMs,
  refused,
  unreachable,
  type WantedService,
} from "./relay_services.ts";
import { mainHostname, type Publication, serviceSettings } from "../routes/route_groups.ts";
import type { CompiledBinding, CompiledRoute } from "../routes/route_table.ts";
import { idOf, type Tunnel } from "../tunnel.ts";

/** The services that a binding is to have, and what is said of its other routes. */
export interface BindingPlan {
  /** The services to have at the relay, by the route's name. */
  readonly wanted: ReadonlyMap<string, WantedService>;
  /** The verdicts on the other routes, by the route's name. */
  readonly verdicts: ReadonlyMap<string, Verdict>;
  /** Services of which nothing can be said now: what is at the relay stays. */
  readonly undecided: ReadonlySet<string>;
  /** After how many milliseconds to ask the relay again; infinite if it has answered everything. */
  readonly againMs: number;
}

/** What is known of a tunnel's registration; undefined before the relay was asked. */
export type Registration = (tunnelKey: string) => Verdict | undefined;

type PublishedRoute = CompiledRoute & { readonly publication: Publication };

/** Why a policy has no name yet, and when to ask for one again. */
interface PolicyFault {
  readonly fault: Verdict;
  readonly againMs: number;
}

/** Plans bindings. */
export class BindingPlans {
  readonly #context: Context;
  readonly #registration: Registration;
  readonly #policies: RelayPolicies;

  constructor(context: Context, registration: Registration) {
    this.#context = context;
    this.#registration = registration;
    this.#policies = new RelayPolicies(context);
  }

  /** Plans a binding; asks the relay nothing but how policies may be named. */
  async of({ tunnel, routes, object }: CompiledBinding): Promise<BindingPlan> {
    const wanted = new Map<string, WantedService>();
    const verdicts = new Map<string, Verdict>();
    const undecided = new Set<string>();
    let againMs = Infinity;
    const api = tunnel?.spec?.relay.registration.api;
    const found = tunnel && api ? await this.#context.accesses.find(tunnel) : undefined;
    for (const route of routes) {
      const { spec: { name }, publication, held = [] } = route;
      const decided = this.#obstacle(route, tunnel);
      if (decided) verdicts.set(name, decided);
      // The service is needed for the group's other routes, even if this route has no target.
      const mayBeAtRelay = (publication || held.length > 0) && !this.#unpublished(route, tunnel!);
      if (!mayBeAtRelay) continue;
      for (const service of held) undecided.add(service);
      // What is there of a held route follows its policy.
      const isThere = held.length > 0 && isRegistered(object, publication?.service);
      if (!publication?.isServed && !(publication && isThere)) continue;
      const delay = this.#delay(tunnel!, found!);
      if (delay) {
        verdicts.set(name, decided ?? delay);
        undecided.add(publication.service);
      } else if (found && "access" in found) {
        const policy = route.spec.policy ?? tunnel!.spec!.defaultPolicy;
        const published = { ...route, publication };
        const want = await this.#want(published, tunnel!, object, { ...found, policy });
        if ("fault" in want) {
          verdicts.set(name, want.fault);
          againMs = Math.min(againMs, want.againMs);
          // A route whose own policy is impossible must not go on under another one.
          if (want.fault.reason === "RelayUnreachable") undecided.add(publication.service);
        } else wanted.set(name, want);
      }
    }
    return { wanted, verdicts, undecided, againMs };
  }

  /** The service of a route, and its own policy if AccessPolicies are about it. */
  async #want(
    route: PublishedRoute,
    tunnel: Tunnel,
    object: KubeObject,
    { access, owner, policy }: { access: RelayAccess; owner: string; policy: string | undefined },
  ): Promise<WantedService | PolicyFault> {
    const rules = route.access?.rules ?? [];
    const servicesOwner = this.#ownerOf(owner, object);
    const own = rules.length === 0
      ? undefined
      : await this.#ownPolicy(route, rules, access, servicesOwner);
    if (own && "fault" in own) return own;
    const { service, hostnames } = route.publication;
    const at = { tunnel: tunnel.key, endpoint: access.endpoint };
    const registered = { service, ...at, hostname: mainHostname(hostnames) };
    return {
      access,
      policy: own,
      registered: { ...registered, ...own && { policy: own.name } },
      entry: this.#entryOf(route, tunnel, { policy: own?.name ?? policy!, owner, object }),
    };
  }

  async #ownPolicy(
    { publication }: PublishedRoute,
    rules: readonly AccessRules[],
    access: RelayAccess,
    owner: string,
  ): Promise<RelayPolicy | PolicyFault> {
    try {
      const policy = await this.#policies.of(access, publication.service, rules, owner);
      return "fault" in policy ? { ...policy, againMs: refusalMs } : policy;
    } catch (error) {
      if (error instanceof RelayRefusal) return { fault: refused(error), againMs: refusalMs };
      if (!(error instanceof RelayUnreachable)) throw error;
      return { fault: unreachable(access, error), againMs: error.retryAfterMs };
    }
  }

  /** Why a route can't be published; undefined if it can. */
  #obstacle(route: CompiledRoute, tunnel: Tunnel | undefined): Verdict | undefined {
    const { accepted, resolved } = route;
    if (accepted.status !== "True") return { ...accepted, reason: "NotAccepted" };
    if (resolved.status !== "True") return { ...resolved, reason: "NotResolved" };
    return this.#unpublished(route, tunnel!);
  }

  /** Why an accepted route is at no hostname of the relay; routes of one hostname agree. */
  #unpublished({ spec, access }: CompiledRoute, tunnel: Tunnel): Verdict | undefined {
    const { relay: { registration: { api } }, defaultPolicy } = tunnel.spec!;
    if (!api) {
      return yes("TargetsOnly", "The relay's own configuration says at which hostnames");
    }
    if (access?.fault) return access.fault;
    const hasRules = access !== undefined && access.rules.length > 0;
    return !hasRules && spec.policy === undefined && defaultPolicy === undefined
      ? no("PolicyMissing", "Set the route's policy, or defaultPolicy of the tunnel")
      : undefined;
  }

  /** Why the relay can't be asked to publish anything now; what it publishes already stays. */
  #delay(tunnel: Tunnel, found: FoundAccess): Verdict | undefined {
    if ("fault" in found) return no(found.fault.reason, found.fault.message);
    const registration = this.#registration(tunnel.key);
    if (registration?.status === "True") return undefined;
    return registration
      ? no("TunnelNotRegistered", `The tunnel is not registered: ${registration.message}`)
      : unknown("TunnelNotRegistered", "The tunnel is about to be registered at its relay");
  }

  #entryOf(
    { spec, publication, access }: PublishedRoute,
    tunnel: Tunnel,
    { policy, owner, object }: { policy: string; owner: string; object: KubeObject },
  ): Readonly<Record<string, unknown>> {
    const { requestsPerSecond } = access ?? {};
    return {
      hostnames: publication.hostnames,
      cluster: idOf(tunnel, this.#context.settings.idPrefix),
      target: publication.service,
      ...spec.protocol === "tcp" && { kind: "tcp" },
      policy,
      ...serviceSettings(spec),
      ...requestsPerSecond !== undefined && { limits: { requestsPerSecond } },
      owner: this.#ownerOf(owner, object),
    };
  }

  #ownerOf(tunnelOwner: string, object: KubeObject): string {
    return ownerOfServices(tunnelOwner, object, this.#context.digest);
  }
}

function isRegistered({ status }: KubeObject, service: string | undefined): boolean {
  const { registered = [] } = (status ?? {}) as BindingStatus;
  return registered.some((it) => it.service === service);
}
