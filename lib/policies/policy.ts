/** Who may open what: a policy decides by what is known about whoever asks, and says no by default. */
import { AddressRanges } from "../domain/address_ranges.ts";
import { NamePatterns } from "../domain/name_patterns.ts";
import {
  isSet,
  type PolicyEntry,
  publicPolicy,
  type RuleEntry,
  type RuleSetEntry,
} from "../domain/policy.ts";
import { pathOf } from "./claims.ts";
import { isInScope } from "./asked.ts";
import type { CallerAttributes } from "./caller_attributes.ts";
import { isAboutPerson, type PersonRule, type Rule, type RuleSet, type TokenRule } from "./rule.ts";

/** What a policy says. */
export type Decision =
  | {
    readonly isAllowed: true;
    /** The rules that were met. */
    readonly met: readonly Rule[];
  }
  | {
    readonly isAllowed: false;
    /** The rules that were not met. */
    readonly missing: readonly Rule[];
  };

/** A policy for services of one provider. */
export class Policy {
  readonly name: string;
  readonly #rules: RuleSet;
  /** All rules, in the order in which they stand. */
  readonly rules: readonly Rule[];
  /** Those of its rules that have a token of their own. */
  readonly ownTokens: readonly (TokenRule & { readonly sha256: string })[];
  /** Whether a rule is about some methods only. */
  readonly hasMethods: boolean;
  /** Whether a rule is about some paths only. */
  readonly hasPaths: boolean;

  private constructor(name: string, rules: RuleSet) {
    this.name = name;
    this.#rules = rules;
    this.rules = rulesOf(rules);
    this.ownTokens = this.rules.filter(hasOwnToken);
    this.hasMethods = this.rules.some(({ scope }) => scope.methods);
    this.hasPaths = this.rules.some(({ scope }) => scope.paths);
  }

  /** Lets everybody in. */
  static readonly public = new Policy(publicPolicy, { kind: "all", members: [] });

  /**
   * Makes a policy of its entry.
   *
   * @param provider What rules that name no provider are about.
   */
  static async from(entry: PolicyEntry, provider: string): Promise<Policy> {
    return new Policy(entry.name, await toSet(entry, provider));
  }

  /** The rules about what providers say. */
  get personRules(): readonly PersonRule[] {
    return this.rules.filter(isAboutPerson);
  }

  /** Whether whoever shows this is let in. */
  decide(attributes: CallerAttributes): Decision {
    const met = this.rules.filter((rule) => matches(rule, attributes));
    const isAllowed = holds(this.#rules, (rule) => met.includes(rule));
    if (isAllowed) return { isAllowed, met };
    return { isAllowed, missing: this.rules.filter((rule) => !met.includes(rule)) };
  }

  /** The same as `decide` without the reasons. */
  allows(attributes: CallerAttributes): boolean {
    return holds(this.#rules, (rule) => matches(rule, attributes));
  }

  /**
   * Whether whoever shows this would be let in if they also met all rules that could be met; none can
   * be that is about other requests.
   */
  couldAllow(attributes: CallerAttributes, couldBeMet: (rule: Rule) => boolean): boolean {
    return holds(
      this.#rules,
      (rule) =>
        isInScope(rule.scope, attributes.asked) && (couldBeMet(rule) || isMetBy(rule, attributes)),
    );
  }
}

function hasOwnToken(rule: Rule): rule is TokenRule & { readonly sha256: string } {
  return rule.kind === "token" && rule.sha256 !== undefined;
}

async function toSet(entry: RuleSetEntry, provider: string): Promise<RuleSet> {
  const kind = "any" in entry ? "any" : "all";
  const entries = "any" in entry ? entry.any : entry.all;
  const members = await Promise.all(
    entries.map((entry) => isSet(entry) ? toSet(entry, provider) : toRule(entry, provider)),
  );
  return { kind, members };
}

async function toRule(entry: RuleEntry, usual: string): Promise<Rule> {
  const { methods, paths } = entry;
  const scope = { methods, paths };
  if ("claim" in entry) {
    const { value, provider = usual } = entry;
    const path = pathOf(entry.claim);
    return {
      kind: "claim",
      scope,
      id: await digest("claim", provider, ...path, value),
      provider,
      path,
      value,
    };
  }
  if ("emailDomain" in entry) {
    const { provider = usual } = entry;
    const domain = entry.emailDomain.toLowerCase();
    return {
      kind: "emailDomain",
      scope,
      id: await digest("emailDomain", provider, domain),
      provider,
      domain,
    };
  }
  if ("token" in entry) {
    return { kind: "token", scope, name: entry.token, sha256: entry.tokenSha256 };
  }
  if ("certificate" in entry) return { kind: "certificate", scope, name: entry.certificate };
  const ranges = AddressRanges.parse(entry.address);
  if (!ranges) throw new RangeError("A rule's address is not a range");
  return { kind: "address", scope, text: entry.address, ranges };
}

/** Bytes of a rule's id: sessions hold ids, and cookies are short. */
const idBytes = 9;

/** Names a rule by what it says, so that a rule with other words is another one. */
async function digest(...parts: readonly string[]): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(parts));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return hash.subarray(0, idBytes).toBase64({ alphabet: "base64url", omitPadding: true });
}

function rulesOf(set: RuleSet): Rule[] {
  return set.members.flatMap((member) => "members" in member ? rulesOf(member) : [member]);
}

function holds({ kind, members }: RuleSet, isMet: (rule: Rule) => boolean): boolean {
  const holdsOne = (member: Rule | RuleSet) =>
    "members" in member ? holds(member, isMet) : isMet(member);
  return kind === "any" ? members.some(holdsOne) : members.every(holdsOne);
}

function matches(rule: Rule, attributes: CallerAttributes): boolean {
  return isInScope(rule.scope, attributes.asked) && isMetBy(rule, attributes);
}

/** Whether somebody meets a rule, whatever they ask for. */
function isMetBy(
  rule: Rule,
  { address, certificateNames, token, tokenSha256, verifiedClaims }: CallerAttributes,
): boolean {
  switch (rule.kind) {
    case "claim":
    case "emailDomain":
      return verifiedClaims?.meets(rule) ?? false;
    case "token":
      return rule.sha256 !== undefined
        ? rule.sha256 === tokenSha256
        : token !== undefined && new NamePatterns([rule.name]).matches(token);
    case "certificate": {
      const wanted = new NamePatterns([rule.name]);
      return certificateNames.some((name) => wanted.matches(name));
    }
    case "address":
      return rule.ranges.has(address);
  }
}
