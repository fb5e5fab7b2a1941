/** What a provider's verified claims say about somebody. */
import { NamePatterns } from "../domain/name_patterns.ts";
import type { ClaimPath } from "../domain/policy.ts";
import type { ClaimNames, VerifiedEmail } from "../domain/provider.ts";
import { domainOf } from "./email.ts";
import type { ClaimRule, PersonRule } from "./rule.ts";

/** The claims of a verified token. */
export type Claims = Readonly<Record<string, unknown>>;

/** Why claims name nobody. */
export interface NoName {
  readonly fault: string;
}

/** The claim that OpenID Connect has for it. */
const emailVerified = "email_verified";

/** Whether the e-mail address among the claims belongs to whom they describe. */
export function hasVerifiedEmail(claims: Claims, how: VerifiedEmail): boolean {
  if (how === "always") return true;
  // The text "true" is not `true`: some providers let people write such claims themselves.
  if (how !== "unlessDenied") return claim(claims, how.claim) === true;
  return !Object.hasOwn(claims, emailVerified) || claims[emailVerified] === true;
}

/** The name of whom claims describe: the first claim that is there decides. */
export function usernameOf(claims: Claims, names: ClaimNames): string | NoName {
  for (const name of names.username) {
    const value = claim(claims, name);
    if (value === undefined || value === null || value === "") continue;
    if (typeof value !== "string") return { fault: `claim ${name} is not a string` };
    if (name === "email" && !hasVerifiedEmail(claims, names.verifiedEmail)) {
      return { fault: "the e-mail address is not verified" };
    }
    return value;
  }
  return { fault: `none of these claims is there: ${names.username.join(", ")}` };
}

/** The groups among the claims, or nothing if the claims do not tell them. */
export function groupsOf(claims: Claims, { groups }: ClaimNames): readonly string[] | undefined {
  const value = claimAt(claims, pathOf(groups));
  if (value === undefined || value === null || hasOverage(claims, groups)) return undefined;
  return [value].flat().filter((group) => typeof group === "string");
}

/**
 * Whether the provider left the groups out because there are too many. Microsoft Entra then writes
 * where to ask for them (OpenID Connect Core section 5.6.2), or `hasgroups` in implicit flows.
 */
function hasOverage(claims: Claims, groups: ClaimPath): boolean {
  const elsewhere = claim(claims, "_claim_names");
  const [name] = pathOf(groups);
  const isElsewhere = typeof elsewhere === "object" && elsewhere !== null &&
    Object.hasOwn(elsewhere, name!);
  return isElsewhere || claim(claims, "hasgroups") === true;
}

/** Whether claims meet a rule of their provider's. */
export function meets(claims: Claims, names: ClaimNames, rule: PersonRule): boolean {
  const hasEmail = hasVerifiedEmail(claims, names.verifiedEmail);
  if (rule.kind === "emailDomain") {
    return hasEmail && domainOf(claim(claims, "email")) === rule.domain;
  }
  if (rule.path[0] === "email" && !hasEmail) return false;
  return valuesOf(claims, rule).length > 0;
}

/** The members of a claim that meet a rule. */
export function valuesOf(claims: Claims, { path, value }: ClaimRule): string[] {
  return valuesAt(claims, path, new NamePatterns([value]));
}

/** The members of a claim that fit one of some patterns; a claim that is no list is its only member. */
export function valuesAt(claims: Claims, path: readonly string[], wanted: NamePatterns): string[] {
  const members: unknown[] = [claimAt(claims, path)].flat();
  return members.filter(isScalar).map(String).filter((member) => wanted.matches(member));
}

/** The names that lead to a claim. */
export function pathOf(path: ClaimPath): readonly string[] {
  return typeof path === "string" ? [path] : path;
}

function claimAt(claims: Claims, path: readonly string[]): unknown {
  let found: unknown = claims;
  for (const name of path) found = claim(found, name);
  return found;
}

function claim(claims: unknown, name: string): unknown {
  const isThere = typeof claims === "object" && claims !== null && Object.hasOwn(claims, name);
  return isThere ? (claims as Claims)[name] : undefined;
}

function isScalar(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}
