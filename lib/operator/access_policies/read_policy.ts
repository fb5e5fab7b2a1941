/** Reads an AccessPolicy: its spec, whether it can be enforced, and its rules in the relay's form. */
import { policySchema } from "../../config/entries/policies.ts";
import type { KubeObject } from "../../kube/objects.ts";
import {
  type AccessPolicySpec,
  accessPolicySpec,
  type AccessPolicyStatus,
  type CallerTokenRef,
  callerTokenRef,
} from "../api/access_policy.ts";
import { type Verdict, yes } from "../conditions.ts";
import type { NamedText, TextPath } from "../named_texts.ts";

/** A rule in the relay's form: with a token's digest in place of the reference to its Secret. */
export type RelayRule = Omit<NonNullable<AccessPolicySpec["any"]>[number], "tokenRef">;

/** The digest of a token, and the reference to the token's Secret. */
export type TokenDigest = NonNullable<AccessPolicyStatus["tokens"]>[number];

/** An AccessPolicy, as far as it can be read. */
export interface ReadPolicy {
  readonly object: KubeObject;
  /** The policy's spec; undefined if it can't be read. */
  readonly spec: AccessPolicySpec | undefined;
  /** Why the policy can't be enforced anywhere; undefined if it can. */
  readonly fault: string | undefined;
  /** The policy's rules, without those whose token is missing; undefined if the policy has none. */
  readonly rules: readonly RelayRule[] | undefined;
  /** Whether the tokens of all rules exist. */
  readonly resolved: Verdict;
  /** The digests of the rules' tokens, for the policy's status. */
  readonly tokens: readonly TokenDigest[];
}

/** Finds the digest of the token at a path. */
export type FindToken = (path: TextPath) => NamedText;

/** Reads an AccessPolicy. */
export function readPolicy(object: KubeObject, find: FindToken): ReadPolicy {
  const { data: spec } = accessPolicySpec.safeParse(object.spec);
  const fault = spec
    ? rulesFault(object.spec)
    : "The spec can't be read; upgrade the operator, or the CRDs";
  const none = { object, spec, rules: undefined, resolved: yes("ResolvedRefs"), tokens: [] };
  return spec?.any && fault === undefined
    ? { ...none, fault, ...resolveRules(object, spec.any, find) }
    : { ...none, fault };
}

/**
 * What is wrong with the first rule that the relay would refuse.
 *
 * @param spec The spec before parsing, which would drop unknown keys: a rule without a key that only newer
 *   versions know would admit more callers.
 */
function rulesFault(spec: unknown): string | undefined {
  const { any } = spec as { any?: unknown };
  if (any === undefined) return undefined;
  const withDigests = Array.isArray(any) ? any.map(withDigest) : any;
  const [issue] = policySchema.safeParse({ name: "access", any: withDigests }).error?.issues ?? [];
  if (!issue) return undefined;
  // The path is like ["any", 1, "address"].
  const [, index, key] = issue.path;
  const place = key === undefined
    ? `rule ${Number(index) + 1}`
    : `rule ${Number(index) + 1}, ${String(key)}`;
  return `any: ${place} ${issue.message}`;
}

/** Puts a digest in place of a rule's valid reference, so that the rest of the rule can be checked. */
function withDigest(rule: unknown): unknown {
  if (typeof rule !== "object" || rule === null) return rule;
  const { tokenRef, ...rest } = rule as Readonly<Record<string, unknown>>;
  const isReadable = callerTokenRef.strict().safeParse(tokenRef).success;
  return isReadable && !("tokenSha256" in rest) ? { ...rest, tokenSha256: "0".repeat(64) } : rule;
}

function resolveRules(
  { metadata: { namespace = "" }, status }: KubeObject,
  any: NonNullable<AccessPolicySpec["any"]>,
  find: FindToken,
): Pick<ReadPolicy, "rules" | "resolved" | "tokens"> {
  const before = ((status ?? {}) as AccessPolicyStatus).tokens ?? [];
  const rules: RelayRule[] = [];
  const faults: Verdict[] = [];
  const tokens: TokenDigest[] = [];
  for (const { tokenRef, ...rule } of any) {
    if (tokenRef) {
      const found = find({ namespace, ...tokenRef });
      const { tokenSha256, fault } = "text" in found
        ? { tokenSha256: found.text, fault: undefined }
        : lastToken(found.fault, tokenRef, before);
      if (fault) faults.push({ ...fault, message: `Token ${rule.token}: ${fault.message}` });
      if (tokenSha256 === undefined) continue;
      if (!tokens.some((it) => isSameRef(it, tokenRef))) tokens.push({ ...tokenRef, tokenSha256 });
      rules.push({ ...rule, tokenSha256 });
    } else rules.push(rule);
  }
  return { rules, resolved: sumOf(faults), tokens };
}

/** The digest to use for a missing token: the last one while the API server can't be asked, else none. */
function lastToken(
  fault: Verdict,
  tokenRef: CallerTokenRef,
  before: readonly TokenDigest[],
): { readonly tokenSha256: string | undefined; readonly fault: Verdict } {
  const last = fault.status === "Unknown"
    ? before.find((it) => isSameRef(it, tokenRef))?.tokenSha256
    : undefined;
  const outcome = last === undefined ? "nobody gets in by it" : "it stays as it was";
  return { tokenSha256: last, fault: { ...fault, message: `${outcome}: ${fault.message}` } };
}

function isSameRef(one: CallerTokenRef, other: CallerTokenRef): boolean {
  return one.name === other.name && one.key === other.key;
}

function sumOf(faults: readonly Verdict[]): Verdict {
  const first = faults.find(({ status }) => status === "False") ?? faults[0];
  const message = faults.map(({ message }) => message).join("; ");
  return first ? { ...first, message } : yes("ResolvedRefs");
}
