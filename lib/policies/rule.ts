/** What a policy asks for: single rules, and sets of them. */
import type { AddressRanges } from "../domain/address_ranges.ts";
import type { RuleScope } from "../domain/policy.ts";

/** What rules of every kind have. */
interface ScopedRule {
  readonly scope: RuleScope;
}

/** A rule about what a provider says of somebody. */
export type PersonRule = ClaimRule | EmailRule;

/** Demands a value of a claim. */
export interface ClaimRule extends ScopedRule {
  readonly kind: "claim";
  /** Digest of what it demands of the provider, which no scope changes. */
  readonly id: string;
  readonly provider: string;
  readonly path: readonly string[];
  /** The value, or its beginning with `*` behind. */
  readonly value: string;
}

/** Demands a verified e-mail address in a domain. */
export interface EmailRule extends ScopedRule {
  readonly kind: "emailDomain";
  /** Digest of what it demands of the provider, which no scope changes. */
  readonly id: string;
  readonly provider: string;
  /** The domain in lower case. */
  readonly domain: string;
}

/** Demands one of the tokens of `--caller-tokens`, or the one that the rule itself has. */
export interface TokenRule extends ScopedRule {
  readonly kind: "token";
  readonly name: string;
  /** Digest of the rule's own, in hexadecimal. */
  readonly sha256?: string | undefined;
}

/** Demands a client certificate with a name. */
export interface CertificateRule extends ScopedRule {
  readonly kind: "certificate";
  readonly name: string;
}

/** Demands a client address in a range. */
export interface AddressRule extends ScopedRule {
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
  const text = [textOf(rule), ...scopeTexts(rule.scope)].join(", ");
  texts.set(rule, text);
  return text;
}

/** A scope in words: `with GET or HEAD`, `at /metrics or below /api/`. */
export function scopeTexts({ methods, paths }: RuleScope): string[] {
  const places = paths?.map((path) => `${path.endsWith("/") ? "below" : "at"} ${path}`);
  return [
    ...methods ? [`with ${methods.join(" or ")}`] : [],
    ...places ? [places.join(" or ")] : [],
  ];
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
