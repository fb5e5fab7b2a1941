/** Finds the AccessPolicies that apply to a route. */
import type { z } from "zod";
import { scopeKeysOf } from "../../domain/policy.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { type AccessPolicySpec, targetRef } from "../api/access_policy.ts";
import type { RouteSpec } from "../api/tunnel_binding.ts";
import { no, type Verdict } from "../conditions.ts";
import type { ReadPolicy, RelayRule } from "./read_policy.ts";

/** The rules of one AccessPolicy. A caller must meet one of them. */
export interface AccessRules {
  readonly any: readonly RelayRule[];
}

/** What AccessPolicies demand of a route's callers. */
export interface RouteAccess {
  /** A caller must meet one rule of each policy. If it is empty, the route keeps its own policy. */
  readonly rules: readonly AccessRules[];
  /** The lowest rate of all policies; undefined if none has a rate. */
  readonly requestsPerSecond?: number;
  /** Why one of the policies can't be enforced. The route must not be published then. */
  readonly fault?: Verdict;
}

/** What one AccessPolicy says of one route of a binding, or of all. */
interface PolicyOfBinding extends Pick<ReadPolicy, "spec" | "rules" | "fault"> {
  /** The policy's name. */
  readonly policy: string;
  /** The route's name; undefined for all routes of the binding. */
  readonly route: string | undefined;
}

/** A reference whose binding can be read, even if it has unknown fields. */
const bindingRef = targetRef.pick({ kind: true, name: true });

/** Stands for a binding's name in policies that may apply to all bindings of their namespace. */
const everyBinding = "*";

/** AccessPolicies by the key of the binding that they apply to. */
export type AccessByBinding = ReadonlyMap<string, readonly PolicyOfBinding[]>;

/** Groups AccessPolicies by binding, in the order of `policies`. */
export function accessOf(policies: readonly ReadPolicy[]): AccessByBinding {
  const access = new Map<string, PolicyOfBinding[]>();
  for (const { object: { metadata, spec: given }, spec, rules, fault, resolved } of policies) {
    const isEmpty = fault === undefined && rules?.length === 0;
    const read = { spec, rules, fault: isEmpty ? `no rule is left; ${resolved.message}` : fault };
    for (const { name = everyBinding, route } of scopesOf(given)) {
      const key = bindingKey(metadata, name);
      const list = access.get(key) ?? [];
      const entry = { policy: metadata.name, route, ...read };
      if (list.push(entry) === 1) access.set(key, list);
    }
  }
  return access;
}

/** The valid references among an AccessPolicy's `targetRefs`. */
export function targetsOf(spec: unknown): AccessPolicySpec["targetRefs"] {
  return refsOf(spec).flatMap((ref) => targetRef.safeParse(ref).data ?? []);
}

/**
 * What an AccessPolicy may apply to. A reference that only a newer version can read counts for each route
 * that it could mean, so that none of them is open by mistake.
 */
function scopesOf(spec: unknown): readonly Partial<z.output<typeof targetRef>>[] {
  return refsOf(spec).map((ref) =>
    targetRef.safeParse(ref).data ?? bindingRef.safeParse(ref).data ?? {}
  );
}

function refsOf(spec: unknown): readonly unknown[] {
  const { targetRefs } = (spec ?? {}) as { targetRefs?: unknown };
  return Array.isArray(targetRefs) && targetRefs.length > 0 ? targetRefs : [undefined];
}

function bindingKey({ namespace }: KubeObject["metadata"], name: string): string {
  return `${namespace}/${name}`;
}

/** Returns why a policy can't be enforced at this route; undefined if it can. */
export function routeFault(
  { any = [] }: Pick<AccessPolicySpec, "any">,
  { name, protocol }: Pick<RouteSpec, "name" | "protocol">,
): string | undefined {
  const [key] = protocol === "tcp" ? any.flatMap(scopeKeysOf) : [];
  return key && `a rule has ${key}, and route ${name} is TCP, which has none`;
}

/** What AccessPolicies demand of a route's callers; undefined if none applies to the route. */
export function accessFor(
  access: AccessByBinding,
  { metadata }: KubeObject,
  spec: Pick<RouteSpec, "name" | "protocol">,
): RouteAccess | undefined {
  const policies = [metadata.name, everyBinding]
    .flatMap((name) => access.get(bindingKey(metadata, name)) ?? [])
    .filter(({ route }) => route === undefined || route === spec.name);
  if (policies.length === 0) return undefined;
  const [faulty] = policies.map((it) => ({ ...it, fault: it.fault ?? routeFault(it.spec!, spec) }))
    .filter(({ fault }) => fault !== undefined);
  const rates = policies.flatMap(({ spec }) => spec?.requestsPerSecond ?? []);
  return {
    rules: policies.flatMap(({ rules }) => rules ? [{ any: rules }] : []),
    ...rates.length > 0 && { requestsPerSecond: Math.min(...rates) },
    ...faulty && {
      fault: no("AccessPolicyInvalid", `AccessPolicy ${faulty.policy}: ${faulty.fault}`),
    },
  };
}
