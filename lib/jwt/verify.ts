/** Verifying JWTs: who signed them, for whom, and until when. */
import {
  type CryptoKey,
  errors,
  type FlattenedJWSInput,
  type JWSHeaderParameters,
  type JWTPayload,
  jwtVerify,
} from "jose";
import { KeysUnavailableError } from "./keys.ts";

/** What clocks may differ by, in seconds. */
export const jwtLeewaySeconds = 30;

/**
 * Signatures by a private key (RFC 7518 section 3.1, RFC 8037, RFC 9864). `HS…` is not among them: whoever
 * can check such a signature can make one, and a public key would be its secret.
 */
export const algorithms: readonly string[] = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** Why a JWT is refused. */
export type JwtFault =
  | "malformed"
  | "expired"
  | "not_yet_valid"
  | "issuer"
  | "audience"
  | "algorithm"
  | "unknown_key"
  | "signature"
  | "claim"
  | "keys_unavailable";

/** A JWT that is refused. */
export class JwtRefusal {
  readonly fault: JwtFault;
  /** The claim beside what was demanded, for the log; only of a token whose signature is right. */
  readonly detail: string | undefined;

  constructor(fault: JwtFault, detail?: string) {
    this.fault = fault;
    this.detail = detail;
  }
}

/** Finds the key that a JWT names. */
export type FindKey = (
  header: JWSHeaderParameters,
  token: FlattenedJWSInput,
) => CryptoKey | Promise<CryptoKey>;

/** What a JWT must say. */
export interface JwtDemands {
  readonly issuer: string;
  /** One of these must be among the token's; undefined where {@link audienceFault} looks at it later. */
  readonly audience?: string | readonly string[] | undefined;
  /** Claims that must be there besides. */
  readonly requiredClaims: readonly string[];
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  /** What demands the issuer and the audience, for the log: `--caller-jwt-issuer`. */
  readonly names: { readonly issuer: string; readonly audience: string };
}

/** Verifies a JWT. */
export async function verifyJwt(
  token: string,
  find: FindKey,
  demands: JwtDemands,
): Promise<JWTPayload | JwtRefusal> {
  const { issuer, audience, requiredClaims, nowMs } = demands;
  try {
    const { payload } = await jwtVerify(token, async (header, jws) => await find(header, jws), {
      issuer,
      ...audience !== undefined && { audience: [audience].flat() },
      algorithms: [...algorithms],
      clockTolerance: jwtLeewaySeconds,
      currentDate: new Date(nowMs),
      requiredClaims: [...requiredClaims],
    });
    return payload;
  } catch (error) {
    return new JwtRefusal(faultOf(error), mismatchOf(error, demands));
  }
}

/** When a verified token is over, in milliseconds since 1970. */
export function jwtEndMs({ exp = 0 }: JWTPayload): number {
  return (exp + jwtLeewaySeconds) * 1000;
}

/** Whether a text has the form of a signed JWT; one with an empty signature too. */
export function looksLikeJwt(token: string): boolean {
  return /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*$/.test(token);
}

/** Claims that a JWT is refused for, by name. */
const faultsByClaim: Readonly<Record<string, JwtFault>> = {
  iss: "issuer",
  aud: "audience",
  nbf: "not_yet_valid",
};

function faultOf(error: unknown): JwtFault {
  if (error instanceof KeysUnavailableError) return "keys_unavailable";
  if (error instanceof errors.JWTExpired) return "expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    return faultsByClaim[error.claim] ?? "claim";
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return "algorithm";
  if (error instanceof errors.JWSSignatureVerificationFailed) return "signature";
  if (
    error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys
  ) return "unknown_key";
  if (error instanceof errors.JOSEError) return "malformed";
  // A key of the issuer's that doesn't fit its algorithm, such as one of too few bits, or is none.
  if (error instanceof TypeError || error instanceof DOMException) return "unknown_key";
  throw error;
}

/** The longest text of a claim in the log: whoever signs tokens chooses it. */
const maxShownUnits = 256;

/**
 * Tells a token's issuer or audience beside the demanded one, which mostly differ in little. The claims
 * are the issuer's own: its signature has been verified.
 */
function mismatchOf(error: unknown, demands: JwtDemands): string | undefined {
  if (!(error instanceof errors.JWTClaimValidationFailed)) return undefined;
  const { issuer, audience, names } = demands;
  const { iss, aud } = error.payload;
  if (error.claim === "iss") {
    const isSlash = typeof iss === "string" && withoutSlash(iss) === withoutSlash(issuer);
    const advice = isSlash ? "; they differ by the slash at the end only" : "";
    return `iss ${shown(iss)}, ${names.issuer} is ${JSON.stringify(issuer)}${advice}`;
  }
  return error.claim === "aud" ? audienceDetail(aud, audience, names.audience) : undefined;
}

/** Why a verified token is not for an audience, or nothing. @param name what demands it, for the log */
export function audienceFault(
  { aud }: JWTPayload,
  audience: string,
  name: string,
): JwtRefusal | undefined {
  if ([aud].flat().includes(audience)) return undefined;
  return new JwtRefusal("audience", audienceDetail(aud, audience, name));
}

function audienceDetail(aud: unknown, audience: unknown, name: string): string {
  return `aud ${shown(aud)}, ${name} is ${JSON.stringify(audience)}`;
}

function withoutSlash(text: string): string {
  return text.replace(/\/$/, "");
}

function shown(claim: unknown): string {
  return claim === undefined ? "is missing" : `is ${JSON.stringify(claim).slice(0, maxShownUnits)}`;
}
