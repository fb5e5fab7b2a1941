/** What tests of policies share. */
import type { ClaimNames } from "../../lib/domain/provider.ts";
import { TokenClaims } from "../../lib/policies/caller_attributes.ts";
import type { CallerAttributes } from "../../lib/policies/caller_attributes.ts";
import type { Claims } from "../../lib/policies/claims.ts";

/** Claims as OpenID providers write them. */
export const oidcNames: ClaimNames = {
  username: ["email", "sub"],
  groups: "groups",
  verifiedEmail: { claim: "email_verified" },
};

/** Nobody, from an address. */
export const nobody: CallerAttributes = {
  address: "192.0.2.7",
  certificateNames: [],
  asked: "anything",
};

/** Somebody for whom the provider `corp` vouches. */
export function person(claims: Claims, names: ClaimNames = oidcNames): CallerAttributes {
  return { ...nobody, verifiedClaims: new TokenClaims("corp", claims, names) };
}
