/** AccessPolicies as they apply to routes. */
import type { z } from "zod";
import { scopeKeysOf } from "../../domain/policy.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { type AccessPolicySpec, targetRef } from "../api/access_policy.ts";
import type { RouteSpec } from "../api/tunnel_binding.ts";
import { no, type Verdict } from "../conditions.ts";
import type { ReadPolicy, RelayRule } from "./read_policy.ts";

/** Rules of one AccessPolicy: a caller must meet one of them. */
export interface AccessRules {
  readonly any: readonly RelayRule[];
}

/** What AccessPolicies say of a route. */
export interface RouteAccess {
  /** A caller must meet one rule of each; none leaves the route its own policy. */
  readonly rules: readonly AccessRules[];
  /** The lowest of all policies; undefined where none has any. */
  readonly requestsPerSecond?: number;
  /** One of them can't be enforced, so the route must not be published. */
  readonly fault?: Verdict;
}

/** What one AccessPolicy says of a binding: of one route, or of all. */
interface PolicyOfBinding extends Pick<ReadPolicy, "spec" | "rules" | "fault"> {
  readonly policy: string;
  readonly route: string | undefined;
}

/** A reference whose binding can be told, whatever else it has. */
const bindingRef = targetRef.pick({ kind: true, name: true });

/** In place of a binding's name: a policy that may be about each binding of its namespace. */
const everyBinding = "*";

/** AccessPolicies by the binding that they are about. */
export type AccessByBinding = ReadonlyMap<string, readonly PolicyOfBinding[]>;

/** AccessPolicies by binding, in the order in which their rules are to stand. */
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

/** Those of an AccessPolicy's `targetRefs` that can be read. */
export function targetsOf(spec: unknown): AccessPolicySpec["targetRefs"] {
  return refsOf(spec).flatMap((ref) => targetRef.safeParse(ref).data ?? []);
}

/**
 * What an AccessPolicy may be about. A reference of a newer CRD counts for each route that it could
 * mean: none of them must be open because this version can't read it.
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

/** Why a policy can't be enforced at a route, which it could be at others; undefined if it can. */
export function routeFault(
  { any = [] }: Pick<AccessPolicySpec, "any">,
  { name, protocol }: Pick<RouteSpec, "name" | "protocol">,
): string | undefined {
  const [key] = protocol === "tcp" ? any.flatMap(scopeKeysOf) : [];
  return key && `a rule has ${key}, and route ${name} is TCP, which has none`;
}

/** What AccessPolicies say of a route; undefined where none is about it. */
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
