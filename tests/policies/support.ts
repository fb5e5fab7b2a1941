/** What tests of policies share. */
import type { ClaimNames } from "../../lib/domain/provider.ts";
import { VouchedClaims } from "../../lib/policies/facts.ts";
import type { Facts } from "../../lib/policies/facts.ts";
import type { Claims } from "../../lib/policies/claims.ts";

/** Claims as OpenID providers write them. */
export const oidcNames: ClaimNames = {
  username: ["email", "sub"],
  groups: "groups",
  verifiedEmail: { claim: "email_verified" },
};

/** Nobody, from an address. */
export const nobody: Facts = { address: "192.0.2.7", certificateNames: [] };

/** Somebody for whom the provider `corp` vouches. */
export function person(claims: Claims, names: ClaimNames = oidcNames): Facts {
  return { ...nobody, vouched: new VouchedClaims("corp", claims, names) };
}
