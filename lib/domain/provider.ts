/** Providers: who vouches for people. */
import type { ClaimPath } from "./policy.ts";

/** Where a provider's claims say what. */
export interface ClaimNames {
  /** Claims of which the first that is there names somebody. */
  readonly username: readonly string[];
  readonly groups: ClaimPath;
  /**
   * The claim that must be true for an e-mail address to count; `always` for none. `unlessDenied` trusts
   * addresses of tokens that do not have `email_verified`, as an access proxy verifies them itself.
   */
  readonly verifiedEmail: VerifiedEmail;
}

/** How a provider's e-mail addresses come to count. */
export type VerifiedEmail = "always" | "unlessDenied" | { readonly claim: string };

/** What every provider has. */
interface ProviderBase {
  readonly name: string;
  /** The claim `iss` of its tokens, letter by letter. */
  readonly issuer: string;
  readonly claims: ClaimNames;
}

/** A proxy in front that signs people in and sends a JWT about them with every request. */
export interface JwtHeaderProvider extends ProviderBase {
  readonly kind: "jwt-header";
  /** The name of the header that has the JWT. */
  readonly header: string;
  /** Where the provider's public keys are. */
  readonly jwksUrl: string;
}

/** An OpenID provider, at which the relay itself signs people in. */
export interface OidcProvider extends ProviderBase {
  readonly kind: "oidc";
  readonly clientId: string;
  /** The client's secret, or the file that has it; neither for a public client. */
  readonly clientSecret?: string | undefined;
  readonly clientSecretFile?: string | undefined;
  readonly scopes: readonly string[];
}

/** Who vouches for people. */
export type Provider = JwtHeaderProvider | OidcProvider;

/** The issuer of `--caller-jwt-issuer` as rules name it; no provider can have this name. */
export const callerJwtProvider = "caller-jwt";
