/** Who is let in where a policy decides: at a service, and on the path of a cluster that has one. */
import { anyName } from "../../domain/name_patterns.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import { publicPolicy } from "../../domain/policy.ts";
import type { Decision } from "../../policies/policy.ts";
import { describeRule } from "../../policies/rule.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import type { CallerRequest, Callers } from "../callers/callers.ts";
import { anyCertificate } from "../callers/certificates.ts";
import { readCredential, readOwnCredential } from "../callers/credential.ts";
import { isAmbient } from "../callers/methods.ts";
import { callerUnknown, policyDenied } from "../errors.ts";
import { type Guard, guarded, PolicyGrant } from "./guard.ts";
import type { People } from "./people.ts";

/** Something behind a policy, as the configuration has it when a request comes. */
export interface GuardedPlace {
  readonly guard: Guard;
  /** The guard as the configuration has it later on; undefined once the place is gone. */
  readonly guardNow: () => Guard | undefined;
  /** Who reads `Authorization`. */
  readonly authorization: "culvert" | "app";
}

/** A caller whom a policy does not let in, and what it lacks. */
export class PolicyDenial extends Denial {
  /** Whom it does not let in; undefined for somebody who showed nothing. */
  readonly caller: Caller | undefined;
  /** The rules that were not met, in words. */
  readonly missing: readonly string[];
  /** The provider did not tell the person's groups, which a rule asks for. */
  readonly lacksGroups: boolean;

  constructor(caller: Caller, { missing }: Decision & { readonly isAllowed: false }) {
    const isKnown = caller.kind !== "network";
    const lacksGroups = caller.person?.vouched.tellsGroups === false &&
      missing.some(({ kind }) => kind === "claim");
    const rules = missing.map(describeRule);
    const detail = lacksGroups
      ? "groups not told by the provider"
      : isKnown
      ? `not met: ${rules.join("; ") || "there is no such policy any more"}`
      : undefined;
    super(
      isKnown ? "policy" : "missing",
      isKnown ? policyDenied : callerUnknown,
      detail,
    );
    this.caller = isKnown ? caller : undefined;
    this.missing = rules;
    this.lacksGroups = lacksGroups;
  }
}

const nobody: Caller = { kind: "network", name: "network", clusters: anyName };

/** Identifies callers and asks policies about them. */
export class Gate {
  readonly #callers: Callers;
  readonly #people: People;

  constructor(callers: Callers, people: People) {
    this.#callers = callers;
    this.#people = people;
  }

  /** Who asks for something behind a policy, or why they are not let in. */
  identify(place: GuardedPlace, request: CallerRequest): Identity | Promise<Identity> {
    const identity = this.#identityOf(place, request);
    return identity instanceof Promise
      ? identity.then((identity) => this.#letIn(identity, place, request, false))
      : this.#letIn(identity, place, request, false);
  }

  /** Narrows what somebody who was identified already may do, by the policy of a cluster's callers. */
  narrow(caller: Caller, place: GuardedPlace, request: CallerRequest): Identity {
    return this.#letIn(caller, place, request, true);
  }

  /** The first credential that is there decides alone: one that does not count is not passed over. */
  #identityOf(place: GuardedPlace, request: CallerRequest): Identity | Promise<Identity> {
    if (place.guard.policy === publicPolicy) return nobody;
    const { fields } = request.head;
    const credential = place.authorization === "culvert"
      ? readCredential(fields)
      : readOwnCredential(fields);
    return this.#callers.byCredential(credential) ??
      this.#people.ambient(request, place.guard) ??
      this.#certified(request) ?? nobody;
  }

  #certified({ peer: { certificate } }: CallerRequest): Identity | undefined {
    if (!certificate) return undefined;
    const isNamed = certificate.names.length === 0 || certificate.names.some(isPrintableName);
    return isNamed ? anyCertificate(certificate) : undefined;
  }

  #letIn(
    identity: Identity,
    place: GuardedPlace,
    { peer }: CallerRequest,
    needsCluster: boolean,
  ): Identity {
    if (identity instanceof Denial) return identity;
    const facts = this.#people.facts(identity, peer, place.guard);
    const decision = this.#people.decide(place.guard, facts);
    if (!decision.isAllowed) return new PolicyDenial(identity, decision);
    const isLetIn = () => {
      const guard = place.guardNow();
      return guard !== undefined && this.#people.allows(guard, facts);
    };
    const grant = new PolicyGrant(identity, isLetIn, needsCluster);
    return guarded(identity, grant, decision.met.map(describeRule));
  }
}

/** Whether such callers' requests must be looked at for the page that they come from. */
export function needsOrigin({ kind }: Caller, { guard }: GuardedPlace): boolean {
  return guard.policy !== publicPolicy && isAmbient(kind);
}
