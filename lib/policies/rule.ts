/** What a policy asks for: single rules, and sets of them. */
import type { AddressRanges } from "../domain/address_ranges.ts";

/** A rule about what a provider says of somebody. */
export type PersonRule = ClaimRule | EmailRule;

/** Demands a value of a claim. */
export interface ClaimRule {
  readonly kind: "claim";
  /** Digest of the rule's content and provider. */
  readonly id: string;
  readonly provider: string;
  readonly path: readonly string[];
  /** The value, or its beginning with `*` behind. */
  readonly value: string;
}

/** Demands a verified e-mail address in a domain. */
export interface EmailRule {
  readonly kind: "emailDomain";
  /** Digest of the rule's content and provider. */
  readonly id: string;
  readonly provider: string;
  /** In lower case. */
  readonly domain: string;
}

/** Demands one of the tokens of `--caller-tokens`. */
export interface TokenRule {
  readonly kind: "token";
  readonly name: string;
}

/** Demands a client certificate with a name. */
export interface CertificateRule {
  readonly kind: "certificate";
  readonly name: string;
}

/** Demands a client address in a range. */
export interface AddressRule {
  readonly kind: "address";
  readonly text: string;
  readonly ranges: AddressRanges;
}

/** One rule, ready to be matched. */
export type Rule = PersonRule | TokenRule | CertificateRule | AddressRule;

/** Whether a rule is about what a provider says of somebody. */
export function isAboutPerson(rule: Rule): rule is PersonRule {
  return rule.kind === "claim" || rule.kind === "emailDomain";
}

/** Whether a credential can meet a rule; no credential changes where a caller is. */
export function isAboutCredential({ kind }: Rule): boolean {
  return kind !== "address";
}

/** Rules of which all, or one, must match, ready to be matched. */
export interface RuleSet {
  readonly kind: "any" | "all";
  readonly members: readonly (Rule | RuleSet)[];
}

const texts = new WeakMap<Rule, string>();

/** A rule in words, for people who do not meet it; "needs …" comes in front. */
export function describeRule(rule: Rule): string {
  const known = texts.get(rule);
  if (known !== undefined) return known;
  const text = textOf(rule);
  texts.set(rule, text);
  return text;
}

function textOf(rule: Rule): string {
  switch (rule.kind) {
    case "claim":
      return `${JSON.stringify(rule.value)} in ${rule.path.join(".")}`;
    case "emailDomain":
      return `a verified e-mail address at ${rule.domain}`;
    case "token":
      return `the token ${JSON.stringify(rule.name)}`;
    case "certificate":
      return `a client certificate for ${JSON.stringify(rule.name)}`;
    case "address":
      return `an address in ${rule.text}`;
  }
}
