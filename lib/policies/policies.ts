/** All policies of a relay at one time, ready for whichever provider somebody comes by. */
import { type PolicyEntry, publicPolicy } from "../domain/policy.ts";
import { callerJwtProvider } from "../domain/provider.ts";
import { Policy } from "./policy.ts";

/** Finds policies by their names. */
export class Policies {
  /** The policies by name, and then by the provider that rules without one are about. */
  readonly #byName: ReadonlyMap<string, ReadonlyMap<string, Policy>>;

  private constructor(byName: ReadonlyMap<string, ReadonlyMap<string, Policy>>) {
    this.#byName = byName;
  }

  /** None but the public one. */
  static readonly none = new Policies(new Map());

  /** Makes each policy for each provider, since their rules' ids differ. */
  static async from(
    entries: readonly PolicyEntry[],
    providers: readonly string[],
  ): Promise<Policies> {
    const all = [...providers, callerJwtProvider];
    const made = entries.map(async (entry) => {
      const policies = await Promise.all(all.map((name) => Policy.from(entry, name)));
      const byProvider = new Map(all.map((name, index) => [name, policies[index]!]));
      return [entry.name, byProvider] as const;
    });
    return new Policies(new Map(await Promise.all(made)));
  }

  /** A policy, or nothing if there is none of this name, which must let nobody in. */
  find(name: string, provider: string = callerJwtProvider): Policy | undefined {
    if (name === publicPolicy) return Policy.public;
    return this.#byName.get(name)?.get(provider);
  }
}
