/** Which objects have to be reconciled because what they depend on has changed. */
import type { AccessPolicies } from "./access_policies/access_policies.ts";
import type { ReadPolicy } from "./access_policies/read_policy.ts";
import type { TunnelStates } from "./bindings/binding_reconciler.ts";
import { servesRoute } from "./bindings/binding_status.ts";
import type { Digest } from "./digest.ts";
import type { CompiledBinding, RouteTable, TunnelTable } from "./routes/route_table.ts";
import type { Tunnel } from "./tunnel.ts";

/** What is compared. */
export interface ChangedKeysOptions {
  readonly digest: Digest;
  readonly states: TunnelStates;
  readonly policies: AccessPolicies;
}

/** What there is at one time. */
export interface Compilation {
  readonly tunnels: ReadonlyMap<string, Tunnel>;
  readonly table: RouteTable;
}

/** Compares compilations. */
export class ChangedKeys {
  readonly #options: ChangedKeysOptions;
  /** For each key of the queue, a digest of everything that its reconciliation depends on. */
  #digests: ReadonlyMap<string, string> = new Map();

  constructor(options: ChangedKeysOptions) {
    this.#options = options;
  }

  /** Forgets the last compilation: with the next one, everything has changed. */
  reset(): void {
    this.#digests = new Map();
  }

  /** The queue's keys of what is new, gone, or another than in the last compilation. */
  next({ tunnels, table }: Compilation): readonly string[] {
    const { digest } = this.#options;
    const digests = new Map<string, string>();
    for (const [key, tunnel] of tunnels) {
      digests.set(`tunnel:${key}`, digest(inputsOfTunnel(tunnel, table.tunnels.get(key)!)));
    }
    for (const [key, binding] of table.bindings) {
      digests.set(`binding:${key}`, digest(this.#inputsOfBinding(binding)));
    }
    for (const [key, policy] of table.policies) {
      digests.set(`policy:${key}`, digest(this.#inputsOfPolicy(policy)));
    }
    const before = this.#digests;
    this.#digests = digests;
    return [...new Set([...digests.keys(), ...before.keys()])]
      .filter((key) => digests.get(key) !== before.get(key));
  }

  #inputsOfBinding({ object, routes, tunnel }: CompiledBinding): string {
    const { states } = this.#options;
    const { uid, generation, deletionTimestamp } = object.metadata;
    const served = routes.map((route) =>
      tunnel !== undefined &&
      servesRoute(route, tunnel, (key, target) => states.serves(key, target))
    );
    return JSON.stringify([
      ...[uid, generation, deletionTimestamp, routes, served],
      ...[tunnel?.key, tunnel?.object.metadata.generation, tunnel?.isDeleted],
      tunnel?.status.formerRelays,
      tunnel !== undefined && states.registration(tunnel.key)?.reason,
    ]);
  }

  #inputsOfPolicy(policy: ReadPolicy): string {
    const { uid, generation } = policy.object.metadata;
    const verdicts = this.#options.policies.verdicts(policy);
    return JSON.stringify([uid, generation, verdicts, policy.tokens]);
  }
}

function inputsOfTunnel(
  { object: { metadata: { uid, generation } }, isDeleted }: Tunnel,
  { targets, backends, files, credentials, held }: TunnelTable,
): string {
  const table = [targets, backends, [...files], [...credentials], [...held]];
  return JSON.stringify([uid, generation, isDeleted, table]);
}
