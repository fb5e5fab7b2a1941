/** Authorizes callers where a policy decides: at a service, and on the path of a cluster with a policy. */
import { anyName } from "../../domain/name_patterns.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import { publicPolicy } from "../../domain/policy.ts";
import type { Decision } from "../../policies/policy.ts";
import { describeRule, isAboutCredential } from "../../policies/rule.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import type { CallerRequest, Callers } from "../callers/callers.ts";
import { anyCertificate } from "../callers/certificates.ts";
import { readCredential, readOwnCredential } from "../callers/credential.ts";
import { isAmbient } from "../callers/caller_methods.ts";
import { callerUnknown, policyDenied } from "../errors.ts";
import { type AccessRequirements, PolicyGrant, withGrant } from "./access_requirements.ts";
import type { People } from "./people.ts";

/** A service or a cluster that a policy protects, as configured when a request comes. */
export interface ProtectedResource {
  readonly requirements: AccessRequirements;
  /** The requirements at a later time; undefined once the resource is gone. */
  readonly currentRequirements: () => AccessRequirements | undefined;
  /** Who reads `Authorization`. */
  readonly authorization: "culvert" | "app";
  /** The hostname that was asked for; undefined to ask what somebody may open by whatever credential. */
  readonly hostname?: string | undefined;
}

/** A caller whom a policy does not let in, and what it lacks. */
export class PolicyDenial extends Denial {
  /** Whom it does not let in; undefined for somebody who showed nothing. */
  readonly caller: Caller | undefined;
  /** The rules that were not met, in words. */
  readonly missing: readonly string[];
  /** The provider did not tell the person's groups, which a rule asks for. */
  readonly lacksGroups: boolean;

  /** @param isHelped Whether some credential would let in somebody who showed none. */
  constructor(
    caller: Caller,
    { missing }: Decision & { readonly isAllowed: false },
    isHelped = false,
  ) {
    const isKnown = caller.kind !== "network";
    const lacksGroups = caller.person?.verifiedClaims.tellsGroups === false &&
      missing.some(({ kind }) => kind === "claim");
    const rules = missing.map(describeRule);
    const asksForCredential = !isKnown && isHelped;
    const detail = lacksGroups
      ? "groups not told by the provider"
      : !asksForCredential
      ? `not met: ${rules.join("; ") || "there is no such policy any more"}`
      : undefined;
    super(
      asksForCredential ? "missing" : "policy",
      asksForCredential ? callerUnknown : policyDenied,
      detail,
    );
    this.caller = isKnown ? caller : undefined;
    this.missing = rules;
    this.lacksGroups = lacksGroups;
  }
}

/** Somebody who showed nothing. */
export const nobody: Caller = { kind: "network", name: "network", clusters: anyName };

/** Identifies callers and asks policies about them. */
export class Authorizer {
  readonly #callers: Callers;
  readonly #people: People;

  constructor(callers: Callers, people: People) {
    this.#callers = callers;
    this.#people = people;
  }

  /** Who asks for something behind a policy, or why they are not let in. */
  identify(resource: ProtectedResource, request: CallerRequest): Identity | Promise<Identity> {
    const identity = this.#identityOf(resource, request);
    return identity instanceof Promise
      ? identity.then((identity) => this.#letIn(identity, resource, request, false))
      : this.#letIn(identity, resource, request, false);
  }

  /** Narrows what somebody who was identified already may do, by the policy of a cluster's callers. */
  narrow(caller: Caller, resource: ProtectedResource, request: CallerRequest): Identity {
    return this.#letIn(caller, resource, request, true);
  }

  /** The first credential that is there decides alone: one that does not count is not passed over. */
  #identityOf(resource: ProtectedResource, request: CallerRequest): Identity | Promise<Identity> {
    if (resource.requirements.policy === publicPolicy) return nobody;
    const { fields } = request.head;
    const credential = resource.authorization === "culvert"
      ? readCredential(fields)
      : readOwnCredential(fields);
    const shown = this.#callers.byCredential(credential) ??
      this.#people.ambient(request, resource.requirements);
    // A cookie of a session that has ended names nobody, as if it were not there.
    return shown instanceof Promise
      ? shown.then((identity) => identity ?? this.#certified(request) ?? nobody)
      : shown ?? this.#certified(request) ?? nobody;
  }

  #certified({ peer: { certificate } }: CallerRequest): Identity | undefined {
    if (!certificate) return undefined;
    const isNamed = certificate.names.length === 0 || certificate.names.some(isPrintableName);
    return isNamed ? anyCertificate(certificate) : undefined;
  }

  #letIn(
    identity: Identity,
    resource: ProtectedResource,
    { peer }: CallerRequest,
    needsCluster: boolean,
  ): Identity {
    if (identity instanceof Denial) return identity;
    const { hostname } = resource;
    if (hostname !== undefined && identity.boundTo?.has(hostname) === false) return otherHost;
    const attributes = this.#people.attributes(identity, peer, resource.requirements);
    const decision = this.#people.decide(resource.requirements, attributes);
    if (!decision.isAllowed) {
      const isHelped = this.#people.couldAllow(
        resource.requirements,
        attributes,
        isAboutCredential,
      );
      return new PolicyDenial(identity, decision, isHelped);
    }
    const isLetIn = () => {
      const requirements = resource.currentRequirements();
      return requirements !== undefined && this.#people.allows(requirements, attributes);
    };
    const grant = new PolicyGrant(identity, isLetIn, needsCluster);
    return withGrant(identity, grant, decision.met.map(describeRule));
  }
}

/** Whoever signed in for a program was told the hosts for which its token is. */
const otherHost = new Denial("audience", callerUnknown, "the token is for other hosts");

/** Whether such callers' requests must be looked at for the page that they come from. */
export function needsOrigin({ kind }: Caller, { requirements }: ProtectedResource): boolean {
  return requirements.policy !== publicPolicy && isAmbient(kind);
}
