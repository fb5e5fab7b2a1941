/** Writes the status of AccessPolicies: whether they are enforced, and whether their Secrets exist. */
import type { Condition } from "../../kube/objects.ts";
import type { AccessPolicySpec, AccessPolicyStatus } from "../api/access_policy.ts";
import { accessPolicies } from "../api/crds.ts";
import { conditionsOf, no, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import { conditionsWithReady, writeStatus } from "../object_status.ts";
import type { ReadPolicy } from "./read_policy.ts";
import { routeFault, targetsOf } from "./route_access.ts";

type TargetRef = AccessPolicySpec["targetRefs"][number];

/** The verdicts that an AccessPolicy's status shows. */
export interface PolicyVerdicts {
  /** Whether the policy is enforced at all of its targets. */
  readonly accepted: Verdict;
  /** Whether the Secrets that its rules name exist, with their keys. */
  readonly resolved: Verdict;
  /** For each target, whether the policy is enforced there. */
  readonly targets: readonly { readonly ref: TargetRef; readonly accepted: Verdict }[];
}

/** Reconciles the status of AccessPolicies. Their rules are compiled with the routes. */
export class AccessPolicies {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Whether a policy can be enforced, and whether the objects that it names exist. */
  verdicts({ object: { metadata, spec }, fault, resolved }: ReadPolicy): PolicyVerdicts {
    const invalid = fault === undefined ? undefined : no("Invalid", fault);
    const targets = targetsOf(spec).map((ref) => ({
      ref,
      accepted: invalid ?? this.#verdictOf(metadata.namespace ?? "", ref, spec as AccessPolicySpec),
    }));
    const faults = targets.map(({ accepted }) => accepted)
      .filter(({ status }) => status !== "True");
    const message = faults.map(({ message }) => message).join("; ");
    const all = faults[0] ? no(faults[0].reason, message) : yes("Accepted");
    return { accepted: invalid ?? all, resolved, targets };
  }

  #verdictOf(namespace: string, { name, route }: TargetRef, policy: AccessPolicySpec): Verdict {
    const binding = this.#context.routes().bindings.get(`${namespace}/${name}`);
    if (!binding) {
      const message = `There is no TunnelBinding ${name} in namespace ${namespace}`;
      return no("TargetNotFound", message);
    }
    const { spec, tunnel } = binding;
    if (route !== undefined && !spec?.routes.some((it) => it.name === route)) {
      return no("TargetNotFound", `TunnelBinding ${name} has no route ${route}`);
    }
    const [fault] = (spec?.routes ?? []).filter((it) => route === undefined || it.name === route)
      .flatMap((it) => routeFault(policy, it) ?? []);
    if (fault !== undefined) return no("Invalid", `TunnelBinding ${name}: ${fault}`);
    if (!tunnel?.spec || tunnel.spec.relay.registration.api) return yes("Accepted");
    const message = `TunnelBinding ${name}: its tunnel has no registration.api, so that the ` +
      "relay's own configuration says who may use it";
    return no("NotEnforced", message);
  }

  /** Writes the status of one policy. @param key `NAMESPACE/NAME` */
  async reconcile(key: string): Promise<undefined> {
    const policy = this.#context.caches.get("policies", key);
    if (!policy || policy.metadata.deletionTimestamp !== undefined) return;
    const { generation, uid } = policy.metadata;
    const read = this.#context.routes().policies.get(key);
    // The routes are being compiled, and this policy is reconciled after that.
    if (!read || read.object.metadata.uid !== uid) return;
    if (read.object.metadata.generation !== generation) return;
    const { ancestors = [] } = (policy["status"] ?? {}) as AccessPolicyStatus;
    const { accepted, resolved, targets } = this.verdicts(read);
    await writeStatus(this.#context, accessPolicies, "policies", policy, {
      ...generation !== undefined && { observedGeneration: generation },
      ancestors: targets.map(({ ref, accepted }) => {
        const known = ancestors.find(({ ancestorRef }) => isSameTarget(ancestorRef, ref));
        const conditions = known?.conditions as Condition[] | undefined;
        return {
          ancestorRef: ref,
          conditions: conditionsOf({ Accepted: accepted }, conditions, generation),
        };
      }),
      ...read.tokens.length > 0 && { tokens: read.tokens },
      conditions: conditionsWithReady({ Accepted: accepted, ResolvedRefs: resolved }, policy),
    });
  }
}

function isSameTarget(one: TargetRef, other: TargetRef): boolean {
  return one.kind === other.kind && one.name === other.name && one.route === other.route;
}
