/** Policies in the services files: who may open what. */
import { z } from "zod";
import { AddressRanges } from "../../domain/address_ranges.ts";
import {
  isPersonRule,
  type PolicyEntry,
  publicPolicy,
  ruleEntriesOf,
  type RuleEntry,
  scopeKeysOf,
} from "../../domain/policy.ts";
import { callerJwtProvider, type Provider } from "../../domain/provider.ts";
import { ConfigError } from "../config_error.ts";
import { entryOf } from "./json_entries.ts";
import { tokenSha256 } from "./token_schemas.ts";
import { pathList } from "./path_list.ts";

/** What a policy may be called. */
export const policyName: z.ZodType<string> = z.string("must be 1 to 63 of a-z, 0-9 and -")
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, "must be 1 to 63 of a-z, 0-9 and -");

const CLAIM_EXPECTED = "must be a claim's name, or a list of names that leads to it";
const VALUE_EXPECTED = "must be a string of 1 to 1024 characters";
const NAME_EXPECTED = "must be 1 to 253 printable ASCII characters without spaces";
const DOMAIN_EXPECTED = "must be one domain such as example.com, without @ and *";
const ADDRESS_EXPECTED = "must be an address or a range such as 10.0.0.0/8";
const RULES_EXPECTED = "must be a list of at least one rule";
const RULE_KEYS = ["claim", "emailDomain", "token", "certificate", "address"] as const;
const RULE_EXPECTED = `must be an object with one of ${RULE_KEYS.join(", ")}`;
const METHOD_EXPECTED = "must be a method in upper case, such as GET";
const METHODS_EXPECTED = "must be a list of 1 to 32 methods";
const PATHS_EXPECTED = "must list a path; without paths, a rule is for all of them";
const SETS_EXPECTED = "must have either any or all";

/** Rules in one set. */
const maxRules = 64;
/** Methods or paths of one rule. */
export const maxScope = 32;
/** What a method is made of; methods are case-sensitive (RFC 9110 section 9.1). */
export const methodPattern = /^[A-Z][A-Z-]{0,31}$/;

const claimName = z.string(CLAIM_EXPECTED).min(1, CLAIM_EXPECTED).max(253, CLAIM_EXPECTED);

/** A claim's name, or the names that lead to it. */
export const claimPath: z.ZodType<string | string[]> = z.union(
  [claimName, z.array(claimName).min(1, CLAIM_EXPECTED).max(16, CLAIM_EXPECTED)],
  CLAIM_EXPECTED,
);

const method = z.string(METHOD_EXPECTED).regex(methodPattern, METHOD_EXPECTED);

/** Which requests a rule admits. */
const scopeShape = {
  methods: z.array(method, METHODS_EXPECTED).min(1, METHODS_EXPECTED).max(
    maxScope,
    METHODS_EXPECTED,
  )
    .exactOptional(),
  paths: pathList(maxScope).min(1, PATHS_EXPECTED).exactOptional(),
};

const name = z.string(NAME_EXPECTED).regex(/^[\x21-\x7e]{1,253}$/, NAME_EXPECTED);
const provider = policyName.exactOptional();

const ruleSchemas = {
  claim: entryOf({
    claim: claimPath,
    value: z.string(VALUE_EXPECTED).min(1, VALUE_EXPECTED).max(1024, VALUE_EXPECTED),
    provider,
    ...scopeShape,
  }, RULE_EXPECTED),
  emailDomain: entryOf({
    emailDomain: z.string(DOMAIN_EXPECTED)
      .regex(/^(?=.{1,253}$)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*$/, DOMAIN_EXPECTED)
      .transform((domain) => domain.toLowerCase()),
    provider,
    ...scopeShape,
  }, RULE_EXPECTED),
  token: entryOf({
    token: name,
    tokenSha256: tokenSha256.exactOptional(),
    ...scopeShape,
  }, RULE_EXPECTED).refine((rule) => rule.tokenSha256 === undefined || !rule.token.endsWith("*"), {
    path: ["token"],
    error: "must be the token's name for logs, without a *, beside tokenSha256",
  }),
  certificate: entryOf({ certificate: name, ...scopeShape }, RULE_EXPECTED),
  address: entryOf({
    address: z.string(ADDRESS_EXPECTED)
      .refine((text) => !text.includes(",") && AddressRanges.parse(text), ADDRESS_EXPECTED),
    ...scopeShape,
  }, RULE_EXPECTED),
};

/** What a rule may be, for descriptions of the format. */
export const ruleForms: z.ZodType<unknown> = z.union(Object.values(ruleSchemas));

type RuleKey = typeof RULE_KEYS[number];

/** A rule by the key that says of what kind it is, so that a fault is told for that kind alone. */
export const rule: z.ZodType<RuleEntry> = z.unknown().transform((value, context) => {
  const kinds = RULE_KEYS.filter((key) => hasKey(value, key));
  const [kind, second] = kinds;
  if (kind === undefined) return fault(context, describeUnknown(value));
  if (second !== undefined) {
    return fault(context, `has ${kinds.join(" and ")}; make each a rule of its own`);
  }
  return parsed(ruleSchemas[kind] as z.ZodType<RuleEntry>, value, context);
});

function describeUnknown(value: unknown): string {
  if (hasKey(value, "tokenSha256")) return "needs token as well, which names it in logs";
  const nests = hasKey(value, "any") || hasKey(value, "all");
  return nests ? "has rules within rules within rules; one level is possible" : RULE_EXPECTED;
}

const rules = z.array(rule, RULES_EXPECTED).min(1, RULES_EXPECTED).max(maxRules, RULES_EXPECTED);

/** Rules within a policy's rules. */
export const nestedSet = z.union([
  entryOf({ any: rules }, SETS_EXPECTED),
  entryOf({ all: rules }, SETS_EXPECTED),
]);

/** A member of a policy. */
export const ruleOrSet: z.ZodType<unknown> = z.unknown().transform((value, context) => {
  const isNested = hasKey(value, "any") || hasKey(value, "all");
  if (!isNested) return parsed(rule, value, context);
  if (hasKey(value, "any") && hasKey(value, "all")) return fault(context, SETS_EXPECTED);
  const [key] = hasKey(value, "any") ? ["any" as const] : ["all" as const];
  return parsed(nestedSet.options[key === "any" ? 0 : 1] as z.ZodType, value, context);
});

const members = z.array(ruleOrSet, RULES_EXPECTED).min(1, RULES_EXPECTED)
  .max(maxRules, RULES_EXPECTED);

/** The keys of a policy. */
export const policyShape = {
  name: policyName.refine((name) => name !== publicPolicy, {
    error: `must be another than "${publicPolicy}", which lets everybody in`,
  }),
  any: members.exactOptional(),
  all: members.exactOptional(),
};

/** What the keys of a policy must be together. */
export function checkPolicyKeys(
  { any, all }: { readonly any?: unknown; readonly all?: unknown },
  context: z.core.$RefinementCtx,
): void {
  if ((any === undefined) !== (all === undefined)) return;
  context.addIssue({ code: "custom", message: SETS_EXPECTED });
}

/** One policy. */
export const policySchema: z.ZodType<PolicyEntry> = entryOf(
  policyShape,
  "must be an object with name, and any or all",
).superRefine(checkPolicyKeys) as unknown as z.ZodType<PolicyEntry>;

function hasKey(value: unknown, key: RuleKey | "tokenSha256" | "any" | "all"): boolean {
  return typeof value === "object" && value !== null && Object.hasOwn(value, key);
}

function fault(context: z.core.$RefinementCtx, message: string): never {
  context.addIssue({ code: "custom", message });
  return z.NEVER;
}

/** Takes the issues of a schema over, each below where the value stands. */
function parsed<Value>(
  schema: z.ZodType<Value>,
  value: unknown,
  context: z.core.$RefinementCtx,
): Value {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  for (const { path, message } of result.error.issues) {
    context.addIssue({ code: "custom", path, message });
  }
  return z.NEVER;
}

/** What something names a policy for. */
export interface PolicyUse {
  /** Names it in messages: `service "dashboard"`. */
  readonly where: string;
  readonly policy: string;
  /**
   * What the relay can see of who comes: of `requests` everything; where they show `credentials` all but
   * methods and paths; of a `connection` the address, and a client certificate where `hasCertificates`.
   */
  readonly sees: "requests" | "credentials" | "connection";
  readonly hasCertificates?: boolean;
  /** Whom rules about people are about that name no provider; undefined where nobody vouches. */
  readonly provider: string | undefined;
}

/**
 * Checks that a policy that something names is there and can decide there.
 *
 * @param source names the text in messages: `Services file "x.json"`
 * @throws {ConfigError}
 */
export function checkPolicyUse(
  use: PolicyUse,
  policies: readonly PolicyEntry[],
  source: string,
): void {
  if (use.policy === publicPolicy) return;
  const entry = policies.find(({ name }) => name === use.policy);
  const named = JSON.stringify(use.policy);
  if (!entry) {
    const known = policies.map(({ name }) => name).concat(publicPolicy).join(", ");
    throw new ConfigError(
      `${source}: ${use.where}: policy: there is no policy ${named}; there are ${known}`,
    );
  }
  const entries = ruleEntriesOf(entry);
  if (use.sees !== "requests") refuseScopes(entry, `${source}: ${use.where}`);
  if (use.sees === "connection") refuseInvisible(use, entries, source);
  const isUnvouched = use.provider === undefined &&
    entries.some((rule) => isPersonRule(rule) && providerOf(rule) === undefined);
  if (!isUnvouched) return;
  throw new ConfigError(
    `${source}: ${use.where}: policy ${named} has rules about people, and no provider identifies them; ` +
      "add a provider, or --caller-jwt-issuer",
  );
}

/**
 * Checks that a policy has no rules about methods and paths.
 *
 * @param place names in messages what it is for
 * @throws {ConfigError}
 */
export function refuseScopes(policy: PolicyEntry, place: string): void {
  const [key] = ruleEntriesOf(policy).flatMap(scopeKeysOf);
  if (key === undefined) return;
  throw new ConfigError(
    `${place}: policy ${
      JSON.stringify(policy.name)
    } has a rule with ${key}, and there are no requests ` +
      "that could meet it; it can have rules without methods and paths",
  );
}

function refuseInvisible(use: PolicyUse, entries: readonly RuleEntry[], source: string): void {
  const visible = use.hasCertificates ? ["address", "certificate"] : ["address"];
  const other = entries.find((rule) => !visible.some((key) => key in rule));
  if (!other) return;
  const key = RULE_KEYS.find((key) => key in other);
  throw new ConfigError(
    `${source}: ${use.where}: policy ${
      JSON.stringify(use.policy)
    } has a rule about ${key}, which ` +
      `the relay cannot see there; it can be "${publicPolicy}", or have rules about ` +
      visible.join(" and "),
  );
}

/** Checks policies among themselves and against the providers. @throws {ConfigError} */
export function checkPolicies(
  policies: readonly PolicyEntry[],
  providers: readonly Provider[],
  source: string,
): void {
  for (const [index, policy] of policies.entries()) {
    const place = `${source}, policies: entry ${index + 1} ("${policy.name}")`;
    if (policies.findIndex(({ name }) => name === policy.name) < index) {
      throw new ConfigError(`${place}: has the name of another policy`);
    }
    const known = providers.map(({ name }) => name).concat(callerJwtProvider);
    const unknown = ruleEntriesOf(policy).map(providerOf)
      .find((provider) => provider !== undefined && !known.includes(provider));
    if (unknown === undefined) continue;
    throw new ConfigError(
      `${place}: a rule names the provider ${JSON.stringify(unknown)}; there are ${
        known.join(", ")
      }`,
    );
  }
}

function providerOf(rule: RuleEntry): string | undefined {
  return "provider" in rule ? rule.provider : undefined;
}
