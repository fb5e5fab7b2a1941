/** Turns AccessPolicies into policies of the relay. */
import { no, type Verdict } from "../conditions.ts";
import type { Context } from "../context.ts";
import { type RelayAccess, RelayRefusal } from "../relay/relay_api.ts";
import type { AccessRules } from "./route_access.ts";

/** A policy for the relay. */
export interface RelayPolicy {
  readonly name: string;
  readonly entry: Readonly<Record<string, unknown>>;
}

const maxNameCharacters = 63;
const digestCharacters = 16;
/** A policy's name that no token may use. The relay's refusal lists the names that the token may use. */
const probeName = "scope-of-this-token";

/** Makes policies. Their names begin as the scope of the token for the relay's admin API demands. */
export class RelayPolicies {
  readonly #context: Pick<Context, "relays" | "digest">;
  /** For each endpoint and token, by digest: what the names of policies must begin with. */
  readonly #prefixes = new Map<string, string>();

  constructor(context: Pick<Context, "relays" | "digest">) {
    this.#context = context;
  }

  /** Makes the policy of a route. @throws as requests to the relay do */
  async of(
    access: RelayAccess,
    routeId: string,
    rules: readonly AccessRules[],
    owner: string,
  ): Promise<RelayPolicy | { readonly fault: Verdict }> {
    const prefix = await this.#prefixOf(access);
    const name = `${prefix}${this.#context.digest(routeId).slice(0, digestCharacters)}`;
    if (name.length > maxNameCharacters || !/^[a-z0-9][a-z0-9-]*$/.test(name)) {
      const message =
        "AccessPolicies need an admin token whose name is at most 46 of a-z, 0-9 and -";
      return { fault: no("PolicyNameImpossible", message) };
    }
    const [first, ...others] = rules;
    const entry = others.length === 0 ? first! : { all: rules.map(({ any }) => ({ any })) };
    return { name, entry: { ...entry, owner } };
  }

  /** Asks the relay, which says in its refusal which names the token may use. */
  async #prefixOf(access: RelayAccess): Promise<string> {
    const key = this.#context.digest(JSON.stringify(access));
    const known = this.#prefixes.get(key);
    if (known !== undefined) return known;
    try {
      const probe = { any: [{ address: "192.0.2.1" }] };
      await this.#context.relays.put(access, "policies", probeName, probe);
      throw new RelayRefusal(409, "unexpected", "the relay took a policy outside every scope");
    } catch (error) {
      const [pattern] = error instanceof RelayRefusal && error.status === 403 ? error.allowed : [];
      if (pattern === undefined) throw error;
      const prefix = pattern.replace(/\*$/, "");
      this.#prefixes.set(key, prefix);
      return prefix;
    }
  }
}
