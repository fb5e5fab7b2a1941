/** What a policy guards, and the grant of a caller that it admits. */
import type { Peer } from "../../net/exchange.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import type { Facts } from "../../policies/facts.ts";
import type { Caller, Grant } from "../callers/caller.ts";

/** Something that a policy guards. */
export interface Guard {
  readonly policy: string;
  /** Who vouches for people here; without one, only `--caller-jwt-issuer` does. */
  readonly provider?: string | undefined;
  /** What a JWT in a header must be for. */
  readonly audience?: string | undefined;
}

/** What a policy may know of a caller. */
export function factsOf(caller: Caller, { address, certificate }: Peer): Facts {
  return {
    address,
    certificateNames: certificate?.names.filter(isPrintableName) ?? [],
    token: caller.kind === "token" ? caller.name : undefined,
    vouched: caller.person?.vouched,
  };
}

/** The same caller, who loses what it has begun when its policy does not let it in any more. */
export function guarded(caller: Caller, grant: Grant, met: readonly string[]): Caller {
  return { ...caller, grant, met };
}

/** Lets a caller go on as long as its credential counts and a policy lets it in. */
export class PolicyGrant implements Grant {
  readonly #caller: Caller;
  readonly #isLetIn: () => boolean;
  /** Whether the credential must also open the cluster, as it must on the path of one. */
  readonly #needsCluster: boolean;

  constructor(caller: Caller, isLetIn: () => boolean, needsCluster: boolean) {
    this.#caller = caller;
    this.#isLetIn = isLetIn;
    this.#needsCluster = needsCluster;
  }

  get expiresMs(): number {
    return this.#caller.grant?.expiresMs ?? Infinity;
  }

  isValid(nowMs: number): boolean {
    return (this.#caller.grant?.isValid(nowMs) ?? true) && this.#isLetIn();
  }

  mayReach(cluster: string, nowMs: number): boolean {
    if (!this.isValid(nowMs)) return false;
    return !this.#needsCluster || (this.#caller.grant?.mayReach(cluster, nowMs) ?? true);
  }
}
