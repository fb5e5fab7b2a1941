/** Tells AccessPolicies whether the bindings that they are about are there. */
import type { KubeObject } from "../kube/objects.ts";
import { type AccessPolicySpec, accessPolicySpec } from "./api/access_policy.ts";
import { accessPolicies } from "./api/crds.ts";
import { bindingSpec } from "./api/tunnel_binding.ts";
import { no, type Verdict, yes } from "./conditions.ts";
import { conditionsWithReady, type Context, writeStatus } from "./context.ts";

/** Reconciles the status of AccessPolicies; what they say is compiled with the routes. */
export class AccessPolicies {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Whether everything that a policy names is there. */
  verdict({ metadata, spec }: KubeObject): Verdict {
    const { success, data } = accessPolicySpec.safeParse(spec);
    if (!success) return no("InvalidSpec", "The spec can't be read; upgrade the CRDs");
    for (const ref of data.targetRefs) {
      const missing = this.#missing(metadata.namespace ?? "", ref);
      if (missing !== undefined) return no("TargetNotFound", missing);
    }
    return yes("Accepted");
  }

  #missing(
    namespace: string,
    { name, route }: AccessPolicySpec["targetRefs"][number],
  ): string | undefined {
    const binding = this.#context.world.get("bindings", `${namespace}/${name}`);
    if (!binding) return `There is no TunnelBinding ${name} in namespace ${namespace}`;
    const { data } = bindingSpec.safeParse(binding["spec"]);
    const hasRoute = route === undefined || data?.routes.some((it) => it.name === route);
    return hasRoute ? undefined : `TunnelBinding ${name} has no route ${route}`;
  }

  /** Writes the status of one. */
  async reconcile(key: string): Promise<undefined> {
    const policy = this.#context.world.get("policies", key);
    if (!policy || policy.metadata.deletionTimestamp !== undefined) return;
    const { generation } = policy.metadata;
    await writeStatus(this.#context, accessPolicies, "policies", policy, {
      ...generation !== undefined && { observedGeneration: generation },
      conditions: conditionsWithReady({ Accepted: this.verdict(policy) }, policy),
    });
  }
}
