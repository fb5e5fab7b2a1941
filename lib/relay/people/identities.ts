/** What agents and applications are told about a caller: signed, in plain headers, or not at all. */
import { identityNames, type IdentityRules, type IdentityValue } from "../../domain/identity.ts";
import { type Field, field } from "../../http1/head.ts";
import type { Caller } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import { isAnonymous } from "../callers/caller_methods.ts";
import { cannotImpersonate } from "../availability_errors.ts";
import { identityTooLarge, impersonationRefused, noProof } from "../caller_errors.ts";
import type { RelayError } from "../relay_error.ts";
import { type Assertions, AssertionTooLongError } from "./assertions.ts";
import type { AccessRequirements } from "./access_requirements.ts";
import { type ClusterIdentity, clusterIdentityOf, narrowed } from "./impersonation.ts";
import type { People } from "./people.ts";

/** What a request tells about its caller. */
export interface CallerIdentity {
  /** The header fields for the application. */
  readonly fields: readonly Field[];
  /** Names of the caller's own fields that go no further, folded: somebody could pose by them. */
  readonly hides: readonly string[];
  /** The identity that the agent impersonates; absent if there is none. */
  readonly impersonation?: {
    readonly assertion: string;
    readonly user: string;
    readonly groups: readonly string[];
    /** The provider's own JWT, if the caller came with one. */
    readonly proof?: string | undefined;
  } | undefined;
}

/** Where a request goes, as far as its caller's identity goes with it. */
export interface IdentityPlace {
  readonly requirements: AccessRequirements;
  readonly rules: IdentityRules;
  /** The claims `iss` and `aud` of assertions. */
  readonly issuer: string;
  readonly audience: string;
  /** Whose people a map means that names no provider: the resource's own, unless given. */
  readonly providers?: readonly string[] | undefined;
}

/** Nothing is told, and nothing is hidden. */
export const noIdentity: CallerIdentity = { fields: [], hides: [] };

/** Nothing but what hides. */
export const noRules: IdentityRules = { assertion: false, headers: [] };

/** Makes what is told about callers. */
export class Identities {
  readonly #people: People;
  readonly #assertions: Assertions;

  constructor(people: People, assertions: Assertions) {
    this.#people = people;
    this.#assertions = assertions;
  }

  /**
   * What a request tells about its caller, or why it can't go on.
   *
   * @returns a promise only where something has to be signed
   */
  of(
    caller: Caller,
    request: CallerRequest,
    place: IdentityPlace,
  ): CallerIdentity | RelayError | Promise<CallerIdentity | RelayError> {
    const { rules } = place;
    const { headerNames } = this.#people;
    const wantsNothing = !rules.assertion && !rules.impersonate && rules.headers.length === 0;
    if (wantsNothing && headerNames.length === 0) return noIdentity;
    const hides = this.#hiddenBy(rules);
    if (wantsNothing) return { fields: [], hides };
    if (isAnonymous(caller.kind)) {
      return rules.impersonate
        ? impersonationRefused("the caller has no name")
        : { fields: [], hides };
    }
    const groups = this.#groupsOf(caller, place);
    const plain = rules.headers.map(([name, value]) =>
      field(name, plainValue(caller, groups, value))
    );
    const cluster = this.clusterIdentity(caller, request, place);
    if (cluster && "status" in cluster) return cluster;
    if (!rules.assertion && !cluster) return { fields: plain, hides };
    return this.#signed(caller, place, groups, { fields: plain, hides }, cluster);
  }

  /** A provider's JWT is a credential, and a plain header says who somebody is. */
  #hiddenBy({ headers }: IdentityRules): string[] {
    const names = headers.map(([name]) => name.toLowerCase());
    return [...new Set([...this.#people.headerNames, ...names])];
  }

  /** Whom a caller stands for now, or why for nobody; undefined where nobody is impersonated. */
  clusterIdentity(
    caller: Caller,
    { head }: CallerRequest,
    place: IdentityPlace,
  ): ClusterIdentity | RelayError | undefined {
    const { rules: { impersonate: map }, requirements } = place;
    if (!map) return undefined;
    if (isAnonymous(caller.kind)) return impersonationRefused("the caller has no name");
    const verifiedClaims = this.#people.verifiedClaims(caller, requirements);
    const accepted = map.providers ?? place.providers ?? [requirements.provider];
    if (verifiedClaims && !accepted.includes(verifiedClaims.provider)) {
      return impersonationRefused("the map is not for people of the caller's identity provider");
    }
    const identity = clusterIdentityOf(caller, map, this.#groupsOf(caller, place));
    if ("status" in identity) return identity;
    return narrowed(identity, caller.person?.username ?? caller.name, head.fields);
  }

  #groupsOf(caller: Caller, { requirements, rules }: IdentityPlace): readonly string[] {
    const verifiedClaims = this.#people.verifiedClaims(caller, requirements);
    if (!verifiedClaims) return [];
    const personRules = this.#people.policyOf(requirements)?.personRules ?? [];
    return verifiedClaims.groupsFor(
      personRules,
      new Set(Object.keys(rules.impersonate?.groups ?? {})),
    );
  }

  #signed(
    caller: Caller,
    { issuer, audience }: IdentityPlace,
    groups: readonly string[],
    { fields: plain, hides }: CallerIdentity,
    cluster: ClusterIdentity | undefined,
  ): CallerIdentity | RelayError | Promise<CallerIdentity | RelayError> {
    const { person } = caller;
    const told = (jwt: string): CallerIdentity => ({
      fields: [...plain, field(identityNames.assertion, jwt)],
      hides,
      impersonation: cluster && { assertion: jwt, ...cluster, proof: person?.proof },
    });
    const jwt = this.#assertions.sign({
      iss: issuer,
      aud: audience,
      sub: subjectOf(caller),
      username: usernameOf(caller),
      provider: person?.verifiedClaims.provider,
      groups,
      sid: person?.sessionId ?? "",
      impersonate: cluster,
    });
    return typeof jwt === "string" ? told(jwt) : jwt.then(told, (error) => {
      if (error instanceof AssertionTooLongError) return identityTooLarge;
      throw error;
    });
  }
}

/**
 * The fields for an agent.
 *
 * @param proof How the agent learns whom to impersonate at this target, as it has announced.
 */
export function identityFields(
  { fields, impersonation }: CallerIdentity,
  proof: string | undefined,
): readonly Field[] | RelayError {
  if (!impersonation) return fields;
  if (proof === "assertion") return fields;
  if (proof !== "provider") return cannotImpersonate;
  if (impersonation.proof === undefined) return noProof;
  return [
    ...fields,
    field(identityNames.proof, impersonation.proof),
    field(identityNames.groups, impersonation.groups.map(encodeListed).join(",")),
  ];
}

/** A person's subject; for others what no provider calls anybody. */
function subjectOf(caller: Caller): string {
  const subject = caller.person?.subject;
  return subject ? subject : `${caller.kind}:${caller.name}`;
}

function usernameOf({ person, kind, name }: Caller): string {
  return person?.username ?? `${kind}:${name}`;
}

function plainValue(caller: Caller, groups: readonly string[], value: IdentityValue): string {
  switch (value) {
    case "username":
      return encodePlain(usernameOf(caller));
    case "sub":
      return encodePlain(subjectOf(caller));
    case "provider":
      return caller.person?.verifiedClaims.provider ?? "";
    case "groups":
      return groups.map(encodeListed).join(",");
  }
}

/** Printable ASCII stays; the rest, and the percent sign, is percent-encoded UTF-8 (RFC 3986). */
function encodePlain(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]+|%/gu, encodeURIComponent);
}

/** The same for a member of a list. */
function encodeListed(text: string): string {
  return encodePlain(text).replaceAll(",", "%2C");
}
