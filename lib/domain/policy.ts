/** Policies as the configuration writes them: who may open what. */

/** Where a claim stands: its name, or the names that lead to it through objects. */
export type ClaimPath = string | readonly string[];

/** Which requests a rule admits; without one of these, whichever. */
export interface RuleScope {
  /** Case-sensitive; `CONNECT` for upgrades. */
  readonly methods?: readonly string[] | undefined;
  /** Exact paths, or beginnings that end in `/`. */
  readonly paths?: readonly string[] | undefined;
}

/** A rule as the configuration writes it. */
export type RuleEntry =
  & RuleScope
  & (
    | { readonly claim: ClaimPath; readonly value: string; readonly provider?: string | undefined }
    | { readonly emailDomain: string; readonly provider?: string | undefined }
    | {
      /** One of `--caller-tokens`, or, beside a digest, what the token is called in logs. */
      readonly token: string;
      /** The token's SHA-256 digest in hexadecimal. */
      readonly tokenSha256?: string | undefined;
    }
    | { readonly certificate: string }
    | { readonly address: string }
  );

/** Rules of which all, or one, must match. */
export type RuleSetEntry =
  | { readonly any: readonly (RuleEntry | RuleSetEntry)[] }
  | { readonly all: readonly (RuleEntry | RuleSetEntry)[] };

/** A policy as the configuration writes it. */
export type PolicyEntry = { readonly name: string } & RuleSetEntry;

/** The policy that lets everybody in; no entry can have this name. */
export const publicPolicy = "public";

/** All rules of a set and of those within it, as the configuration writes them. */
export function ruleEntriesOf(set: RuleSetEntry): RuleEntry[] {
  const members = "any" in set ? set.any : set.all;
  return members.flatMap((member) => isSet(member) ? ruleEntriesOf(member) : [member]);
}

/** Whether an entry is a set of rules. */
export function isSet(entry: RuleEntry | RuleSetEntry): entry is RuleSetEntry {
  return "any" in entry || "all" in entry;
}

/** The keys of a rule's scope that it has. */
export function scopeKeysOf({ methods, paths }: RuleScope): string[] {
  return [...methods ? ["methods"] : [], ...paths ? ["paths"] : []];
}

/** Whether a rule can only be met by somebody for whom a provider vouches. */
export function isPersonRule(entry: RuleEntry): boolean {
  return "claim" in entry || "emailDomain" in entry;
}
