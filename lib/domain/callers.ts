/** How callers prove who they are, and which clusters each may reach. */
import type { TokenSecret } from "./cluster.ts";

/** A caller's bearer token and the clusters that it opens. */
export interface CallerToken extends TokenSecret {
  readonly name: string;
  /** Ids of clusters, or their beginnings with `*` behind. */
  readonly clusters: readonly string[];
  /** Milliseconds since 1970 from which the token is not accepted any more. */
  readonly expiresMs?: number | undefined;
}

/** The clusters that client certificates with a name open. */
export interface CertificateRule {
  /** A name in the certificate, or its beginning with `*` behind. */
  readonly name: string;
  /** Ids of clusters, or their beginnings with `*` behind. */
  readonly clusters: readonly string[];
}

/** The clusters that a claim of a JWT opens. */
export interface ClaimRule {
  /** The claim's name, or the way to it through objects: `["realm_access", "roles"]`. */
  readonly claim: string | readonly string[];
  /** What the claim, or a member of it where it is a list, must be, or begin with before a `*`. */
  readonly value: string;
  /** Ids of clusters, or their beginnings with `*` behind. */
  readonly clusters: readonly string[];
}

/** Whose JWTs are accepted. */
export interface JwtIssuer {
  readonly issuer: string;
  readonly audience: string;
  readonly rules: readonly ClaimRule[];
}

/** How callers prove themselves: plain values, as a file or a platform's settings have them. */
export interface CallersConfig {
  /**
   * `open`: whoever reaches the listener is let in, to all clusters; a certificate that the handshake
   * verified gives a name. `known`: only with a credential.
   */
  readonly mode: "open" | "known";
  readonly tokens?: readonly CallerToken[] | undefined;
  /** Names by which callers may ask for the relay, besides addresses and `localhost`; undefined for any. */
  readonly hosts?: readonly string[] | undefined;
  readonly jwt?: (JwtIssuer & { readonly jwksUrl: string }) | undefined;
  /**
   * Without rules, a verified certificate opens all clusters if neither tokens nor JWTs are configured,
   * and none if they are: it would be a way around them.
   */
  readonly certificates?: readonly CertificateRule[] | undefined;
}
