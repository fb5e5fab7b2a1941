/** What a resource requires of its callers, and the grant of a caller that meets it. */
import type { Peer } from "../../net/exchange.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import type { Asked } from "../../policies/asked.ts";
import type { CallerAttributes } from "../../policies/caller_attributes.ts";
import type { Caller, Grant } from "../callers/caller.ts";

/** The policy of a resource, and which identities it accepts. */
export interface AccessRequirements {
  readonly policy: string;
  /** The identity provider; without one, only `--caller-jwt-issuer` counts. */
  readonly provider?: string | undefined;
  /** What a JWT in a header must be for. */
  readonly audience?: string | undefined;
}

/** The attributes of a caller that a policy may use, and what it asks for. */
export function attributesOf(
  caller: Caller,
  { address, certificate }: Peer,
  asked: Asked,
): CallerAttributes {
  return {
    address,
    certificateNames: certificate?.names.filter(isPrintableName) ?? [],
    token: caller.kind === "token" && caller.tokenSha256 === undefined ? caller.name : undefined,
    tokenSha256: caller.tokenSha256,
    verifiedClaims: caller.person?.verifiedClaims,
    asked,
  };
}

/** The same caller, whose requests end when its policy no longer admits it. */
export function withGrant(caller: Caller, grant: Grant, met: readonly string[]): Caller {
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
