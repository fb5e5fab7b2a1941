/** What a provider of kind `oidc` is to sign-in. */
import type { OidcProvider } from "../../domain/provider.ts";
import { usernameOf } from "../../policies/claims.ts";
import type { OidcClient } from "./oidc_provider.ts";

/** @param clientSecret what the provider's entry or its file says; undefined for a public client */
export function clientOf(provider: OidcProvider, clientSecret: string | undefined): OidcClient {
  const { name, issuer, clientId, scopes, claims } = provider;
  const nameOf: OidcClient["nameOf"] = (given) => usernameOf(given, claims);
  return { name, issuer, clientId, clientSecret, scopes, nameOf };
}
