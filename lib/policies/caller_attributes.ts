/** The attributes of a caller that policies decide by. */
import type { ClaimNames } from "../domain/provider.ts";
import type { Asked } from "./asked.ts";
import { type Claims, groupsOf, meets, pathOf, valuesOf } from "./claims.ts";
import type { PersonRule } from "./rule.ts";

/** A caller's attributes, as its request shows them, and what it asks for. */
export interface CallerAttributes {
  /** The client's address. */
  readonly address: string;
  /** The names of its verified client certificate. */
  readonly certificateNames: readonly string[];
  /** The name of its token, if it is one of `--caller-tokens`. */
  readonly token?: string | undefined;
  /** The digest of its token, in hexadecimal, if the token is one that the policy itself has. */
  readonly tokenSha256?: string | undefined;
  /** What an identity provider says about the caller. */
  readonly verifiedClaims?: VerifiedClaims | undefined;
  /** What it asks for. */
  readonly asked: Asked;
}

/** What an identity provider says about a person: its claims, or the rules that they met. */
export interface VerifiedClaims {
  readonly provider: string;
  /** Whether the provider told the groups at all. */
  readonly tellsGroups: boolean;
  /** Whether it meets a rule, which is about this provider. */
  meets(rule: PersonRule): boolean;
  /** The groups among `wanted`, which are patterns, and those that met a rule. */
  groupsFor(rules: readonly PersonRule[], wanted: ReadonlySet<string>): readonly string[];
}

/** Rules whose outcome is remembered for the same claims. */
const maxMet = 256;

/** The claims of a verified token. */
export class TokenClaims implements VerifiedClaims {
  readonly provider: string;
  readonly #claims: Claims;
  readonly #names: ClaimNames;
  readonly #groups: readonly string[] | undefined;
  /** Whether a rule is met, by its id. Claims do not change, and each request asks again. */
  readonly #met = new Map<string, boolean>();

  constructor(provider: string, claims: Claims, names: ClaimNames) {
    this.provider = provider;
    this.#claims = claims;
    this.#names = names;
    this.#groups = groupsOf(claims, names);
  }

  /** The same claims, read as another provider's of the same issuer. */
  as(provider: string, names: ClaimNames): TokenClaims {
    return new TokenClaims(provider, this.#claims, names);
  }

  get tellsGroups(): boolean {
    return this.#groups !== undefined;
  }

  meets(rule: PersonRule): boolean {
    if (rule.provider !== this.provider) return false;
    const known = this.#met.get(rule.id);
    if (known !== undefined) return known;
    // Policies come and go; what they asked must not add up.
    if (this.#met.size >= maxMet) this.#met.clear();
    const isMet = meets(this.#claims, this.#names, rule);
    this.#met.set(rule.id, isMet);
    return isMet;
  }

  groupsFor(rules: readonly PersonRule[], wanted: ReadonlySet<string>): readonly string[] {
    const named = (this.#groups ?? []).filter((group) => wanted.has(group));
    const matched = rules.flatMap((rule) =>
      isAbout(rule, this.#names) && this.meets(rule) ? valuesOf(this.#claims, rule) : []
    );
    return [...new Set([...matched, ...named])];
  }
}

/** What a session keeps of claims: the rules that they met, and the groups that mattered. */
export class MetRules implements VerifiedClaims {
  readonly provider: string;
  readonly tellsGroups: boolean;
  readonly #ids: ReadonlySet<string>;
  readonly #groups: readonly string[];

  constructor(
    provider: string,
    ids: readonly string[],
    groups: readonly string[] = [],
    tellsGroups = true,
  ) {
    this.provider = provider;
    this.tellsGroups = tellsGroups;
    this.#ids = new Set(ids);
    this.#groups = groups;
  }

  meets(rule: PersonRule): boolean {
    return rule.provider === this.provider && this.#ids.has(rule.id);
  }

  groupsFor(rules: readonly PersonRule[], wanted: ReadonlySet<string>): readonly string[] {
    const matched = new Set(
      rules.flatMap((rule) => rule.kind === "claim" && this.meets(rule) ? [rule.value] : []),
    );
    return this.#groups.filter((group) => wanted.has(group) || matched.has(group));
  }
}

/** Whether a rule is about groups. */
export function isAbout(rule: PersonRule, { groups }: ClaimNames): rule is PersonRule & {
  readonly kind: "claim";
} {
  return rule.kind === "claim" && rule.path.join("\0") === pathOf(groups).join("\0");
}
