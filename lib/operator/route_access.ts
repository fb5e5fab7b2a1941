/** AccessPolicies as they apply to routes. */
import type { KubeObject } from "../kube/objects.ts";
import { type AccessPolicySpec, accessPolicySpec } from "./api/access_policy.ts";

/** Rules of one AccessPolicy: a caller must meet one of them. */
export interface AccessRules {
  readonly any: AccessPolicySpec["any"];
}

/** AccessPolicies by the binding that they are about. */
export type AccessByBinding = ReadonlyMap<string, readonly RouteAccess[]>;

/** What one AccessPolicy says of a binding: of one route, or of all. */
interface RouteAccess extends AccessRules {
  readonly route: string | undefined;
}

/** Reads AccessPolicies, in the order in which their rules are to stand. */
export function accessOf(policies: readonly KubeObject[]): AccessByBinding {
  const access = new Map<string, RouteAccess[]>();
  for (const { metadata, spec } of policies) {
    const { success, data } = accessPolicySpec.safeParse(spec);
    if (!success || metadata.deletionTimestamp !== undefined) continue;
    for (const { name, route } of data.targetRefs) {
      const key = `${metadata.namespace}/${name}`;
      const list = access.get(key) ?? [];
      if (list.push({ route, any: data.any }) === 1) access.set(key, list);
    }
  }
  return access;
}

/** What callers of a route must meet; undefined where no AccessPolicy is about it. */
export function rulesFor(
  access: AccessByBinding,
  binding: string,
  routeName: string,
): readonly AccessRules[] | undefined {
  const rules = (access.get(binding) ?? [])
    .filter(({ route }) => route === undefined || route === routeName)
    .map(({ any }): AccessRules => ({ any }));
  return rules.length > 0 ? rules : undefined;
}
