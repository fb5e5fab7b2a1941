/** Bearer tokens that policies themselves have: each is good where its policy decides, and nowhere else. */
import { anyName } from "../../domain/name_patterns.ts";
import type { Policy } from "../../policies/policy.ts";
import type { Caller } from "../callers/caller.ts";
import { DigestTable } from "../digests.ts";

const tables = new WeakMap<Policy, DigestTable<Caller>>();

/** Whose tokens a policy has, by their digests; undefined if it has none. */
export function policyTokens(policy: Policy): DigestTable<Caller> | undefined {
  if (policy.ownTokens.length === 0) return undefined;
  const known = tables.get(policy);
  if (known) return known;
  const table = new DigestTable(
    policy.ownTokens.map((rule) => ({
      digest: Uint8Array.fromHex(rule.sha256),
      value: callerOf(policy.name, rule),
    })),
  );
  tables.set(policy, table);
  return table;
}

/** The policy's name in front tells it from those of `--caller-tokens`. */
function callerOf(
  policy: string,
  { name, sha256 }: { readonly name: string; readonly sha256: string },
): Caller {
  return { kind: "token", name: `${policy}/${name}`, clusters: anyName, tokenSha256: sha256 };
}
