/** Authorizes callers where a policy decides: at a service, and on the path of a cluster with a policy. */
import { anyName } from "../../domain/name_patterns.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import { publicPolicy } from "../../domain/policy.ts";
import type { Asked } from "../../policies/asked.ts";
import type { CallerAttributes } from "../../policies/caller_attributes.ts";
import type { Decision, Policy } from "../../policies/policy.ts";
import { describeRule, isAboutCredential, scopeTexts } from "../../policies/rule.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import type { CallerRequest, Callers } from "../callers/callers.ts";
import { anyCertificate } from "../callers/certificates.ts";
import { type Credential, readCredential, readOwnCredential } from "../callers/credential.ts";
import { isAmbient } from "../callers/caller_methods.ts";
import { callerUnknown, policyDenied, requestDenied } from "../caller_errors.ts";
import { type AccessRequirements, PolicyGrant, withGrant } from "./access_requirements.ts";
import { refuseUnclear } from "./asked_request.ts";
import type { People } from "./people.ts";
import { policyTokens } from "./policy_tokens.ts";

/** A service or a cluster that a policy protects, as configured when a request comes. */
export interface ProtectedResource {
  readonly requirements: AccessRequirements;
  /** The requirements at a later time; undefined once the resource is gone. */
  readonly currentRequirements: () => AccessRequirements | undefined;
  /** Who reads `Authorization`. */
  readonly authorization: "culvert" | "app";
  /** The hostname that was asked for; undefined to ask what somebody may open by whatever credential. */
  readonly hostname?: string | undefined;
  readonly asked: Asked;
}

/** What a policy says of a caller besides its no. */
export interface DenialContext {
  /** Whether some credential would let in somebody who showed none. */
  readonly isHelped: boolean;
  readonly otherRequests?: string | undefined;
  readonly asked: Asked;
}

/** A caller whom a policy does not let in, and what it lacks. */
export class PolicyDenial extends Denial {
  /** Whom it does not let in; undefined for somebody who showed nothing. */
  readonly caller: Caller | undefined;
  /** The rules that were not met, in words. */
  readonly missing: readonly string[];
  /** The provider did not tell the person's groups, which a rule asks for. */
  readonly lacksGroups: boolean;
  /** The requests with which the policy would let the caller in, in words; undefined for none. */
  readonly otherRequests: string | undefined;
  readonly asked: Asked;

  constructor(
    caller: Caller,
    { missing }: Decision & { readonly isAllowed: false },
    { isHelped, otherRequests, asked }: DenialContext,
  ) {
    const isKnown = caller.kind !== "network";
    const lacksGroups = caller.person?.verifiedClaims.tellsGroups === false &&
      missing.some(({ kind }) => kind === "claim");
    const rules = missing.map(describeRule);
    const asksForCredential = !isKnown && isHelped;
    const detail = lacksGroups
      ? "groups not told by the provider"
      : !asksForCredential
      ? `not met: ${rules.join("; ") || "the policy no longer exists"}`
      : undefined;
    super(
      asksForCredential ? "missing" : "policy",
      asksForCredential
        ? callerUnknown
        : otherRequests === undefined
        ? policyDenied
        : requestDenied(otherRequests),
      detail,
    );
    this.caller = isKnown ? caller : undefined;
    this.missing = rules;
    this.lacksGroups = lacksGroups;
    this.otherRequests = otherRequests;
    this.asked = asked;
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
    const shown = this.#byCredential(resource, credential) ??
      this.#people.ambient(request, resource.requirements);
    // A cookie of a session that has ended names nobody, as if it were not there.
    return shown instanceof Promise
      ? shown.then((identity) => identity ?? this.#certified(request) ?? nobody)
      : shown ?? this.#certified(request) ?? nobody;
  }

  /** A policy's own tokens are good here alone; the lists of callers know all others. */
  #byCredential(
    { requirements }: ProtectedResource,
    credential: Credential,
  ): Identity | Promise<Identity> | undefined {
    const policy = this.#people.policyOf(requirements);
    const tokens = policy && policyTokens(policy);
    if (!tokens || credential.kind !== "bearer") return this.#callers.byCredential(credential);
    const find = (digest: Uint8Array) =>
      tokens.find(digest) ?? this.#callers.byCredential(credential)!;
    const digest = this.#callers.digest(credential.token);
    return digest instanceof Promise ? digest.then(find) : find(digest);
  }

  #certified({ peer: { certificate } }: CallerRequest): Identity | undefined {
    if (!certificate) return undefined;
    const isNamed = certificate.names.length === 0 || certificate.names.some(isPrintableName);
    return isNamed ? anyCertificate(certificate) : undefined;
  }

  #letIn(
    identity: Identity,
    resource: ProtectedResource,
    { head, peer }: CallerRequest,
    needsCluster: boolean,
  ): Identity {
    if (identity instanceof Denial) return identity;
    const { hostname, requirements } = resource;
    if (hostname !== undefined && identity.boundTo?.has(hostname) === false) return otherHost;
    // Most requests are of this kind: there is nothing to ask.
    if (requirements.policy === publicPolicy) {
      const attributes = () =>
        this.#people.attributes(identity, peer, requirements, resource.asked);
      return this.#granted(identity, resource, attributes, needsCluster);
    }
    const { asked } = resource;
    const policy = this.#people.policyOf(requirements);
    const unclear = policy && refuseUnclear(policy, asked, head.fields);
    if (unclear) return unclear;
    const attributes = this.#people.attributes(identity, peer, requirements, asked);
    const decision = this.#people.decide(requirements, attributes);
    if (!decision.isAllowed) {
      return new PolicyDenial(identity, decision, {
        isHelped: this.#people.couldAllow(requirements, attributes, isAboutCredential),
        otherRequests: policy && otherRequestsOf(policy, attributes),
        asked,
      });
    }
    const met = decision.met.map(describeRule);
    return this.#granted(identity, resource, () => attributes, needsCluster, met);
  }

  /**
   * Whoever is let in, until the resource's policy lets them in no longer.
   *
   * @param attributes Asked for once there is a policy that asks for them.
   */
  #granted(
    identity: Caller,
    { currentRequirements }: ProtectedResource,
    attributes: () => CallerAttributes,
    needsCluster: boolean,
    met: readonly string[] = [],
  ): Caller {
    const isLetIn = () => {
      const requirements = currentRequirements();
      if (requirements === undefined) return false;
      if (requirements.policy === publicPolicy) return true;
      return this.#people.allows(requirements, attributes());
    };
    return withGrant(identity, new PolicyGrant(identity, isLetIn, needsCluster), met);
  }
}

/** Characters of what a caller is told about other requests, at most. */
const maxScopeText = 400;

/** The requests with which a policy lets somebody in whom it does not let in with this one, in words. */
function otherRequestsOf(policy: Policy, attributes: CallerAttributes): string | undefined {
  const decision = policy.decide({ ...attributes, asked: "anything" });
  if (!decision.isAllowed) return undefined;
  const scopes = decision.met.map(({ scope }) => scopeTexts(scope).join(", ")).filter((it) => it);
  const text = [...new Set(scopes)].join("; ");
  return text.length > maxScopeText ? `${text.slice(0, maxScopeText)}...` : text;
}

/** Whoever signed in for a program was told the hosts for which its token is. */
const otherHost = new Denial("audience", callerUnknown, "the token is for other hosts");

/** Whether such callers' requests must be looked at for the page that they come from. */
export function needsOrigin({ kind }: Caller, { requirements }: ProtectedResource): boolean {
  return requirements.policy !== publicPolicy && isAmbient(kind);
}
