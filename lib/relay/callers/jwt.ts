/** Callers' JWTs: who signed them, for whom, until when, and which clusters their claims open. */
import { errors, type JWTPayload, jwtVerify } from "jose";
import type { ClaimRule, JwtIssuer } from "../../domain/callers.ts";
import { callersUnavailable, callerUnknown } from "../errors.ts";
import { Denial, type DenialReason, type Standing } from "./caller.ts";
import { isPrintableName, maxNameUnits } from "../printable_name.ts";
import type { Clock } from "./clock.ts";
import { type IssuerKeys, KeysUnavailableError } from "./keys.ts";
import { Patterns } from "./patterns.ts";
import type { TokenOwner } from "./tokens.ts";

/** What clocks may differ by, in seconds. */
export const jwtLeewaySeconds = 30;

/**
 * Signatures by a private key (RFC 7518 section 3.1, RFC 8037, RFC 9864). `HS…` is not among them: whoever
 * can check such a signature can make one, and a public key would be its secret.
 */
const algorithms = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** Verifies JWTs of one issuer. */
export class JwtVerifier {
  readonly #issuer: JwtIssuer;
  readonly #rules: readonly Rule[];
  readonly #keys: IssuerKeys;
  readonly #clock: Clock;
  readonly #inUse: () => JwtVerifier | undefined;

  /** @param inUse Where its callers look for themselves later on: with other rules, another verifier. */
  constructor(
    issuer: JwtIssuer,
    keys: IssuerKeys,
    clock: Clock,
    inUse: () => JwtVerifier | undefined,
  ) {
    this.#inUse = inUse;
    this.#issuer = issuer;
    this.#rules = issuer.rules.map(toRule);
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Whose token this is; whoever no rule knows is a caller without clusters. */
  async verify(token: string): Promise<TokenOwner | Denial> {
    try {
      const { issuer, audience } = this.#issuer;
      const { payload } = await jwtVerify(token, (header, jws) => this.#keys.find(header, jws), {
        issuer,
        audience,
        algorithms,
        clockTolerance: jwtLeewaySeconds,
        currentDate: new Date(this.#clock.nowMs()),
        requiredClaims: ["exp", "sub"],
      });
      return this.#owner(payload);
    } catch (error) {
      const reason = reasonOf(error);
      const answer = reason === "keys_unavailable" ? callersUnavailable : callerUnknown;
      return new Denial(reason, answer, mismatchOf(error, this.#issuer));
    }
  }

  /** The clusters that verified claims open. */
  clustersOf(payload: JWTPayload): Patterns {
    const rules = this.#rules.filter((rule) => fits(rule, payload));
    return new Patterns(rules.flatMap((rule) => rule.clusters));
  }

  #owner(payload: JWTPayload): TokenOwner | Denial {
    // What an issuer signs need not be what RFC 7519 section 4.1.2 asks for.
    const name: unknown = payload.sub;
    if (!isPrintableName(name)) return new Denial("name", callerUnknown, `sub ${faultOf(name)}`);
    const expiresMs = ((payload.exp ?? 0) + jwtLeewaySeconds) * 1000;
    const standing: Standing = {
      expiresMs,
      mayReach: (cluster, nowMs) =>
        nowMs < expiresMs && (this.#inUse()?.clustersOf(payload).matches(cluster) ?? false),
    };
    const clusters = this.clustersOf(payload);
    return {
      caller: { kind: "jwt", name, clusters, standing },
      expiresMs,
    };
  }
}

/** Why a claim is no caller's name. */
function faultOf(claim: unknown): string {
  if (typeof claim !== "string") return `is ${kindOf(claim)}, must be a string`;
  if (claim === "") return "is empty";
  if (claim.length > maxNameUnits) {
    return `has ${claim.length} characters, must have ${maxNameUnits} at most`;
  }
  return "has characters that are not printable, or a blank at an end";
}

function kindOf(claim: unknown): string {
  if (claim === null) return "null";
  return Array.isArray(claim) ? "a list" : `of type ${typeof claim}`;
}

/** Whether a bearer token has the form of a signed JWT; one with an empty signature too. */
export function looksLikeJwt(token: string): boolean {
  return /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*$/.test(token);
}

interface Rule {
  readonly path: readonly string[];
  readonly value: Patterns;
  readonly clusters: readonly string[];
}

function toRule({ claim, value, clusters }: ClaimRule): Rule {
  const path = typeof claim === "string" ? [claim] : claim;
  return { path, value: new Patterns([value]), clusters };
}

function fits({ path, value }: Rule, payload: JWTPayload): boolean {
  let found: unknown = payload;
  for (const key of path) {
    const isThere = typeof found === "object" && found !== null && Object.hasOwn(found, key);
    found = isThere ? (found as Record<string, unknown>)[key] : undefined;
  }
  const members: unknown[] = Array.isArray(found) ? found : [found];
  return members.some((member) => isScalar(member) && value.matches(String(member)));
}

function isScalar(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

/** Claims that a JWT is refused for, by name. */
const reasonsByClaim: Readonly<Record<string, DenialReason>> = {
  iss: "issuer",
  aud: "audience",
  nbf: "not_yet_valid",
};

/** In the log a claim is as long as this at most; whoever signs tokens writes it. */
const maxShownUnits = 256;

/**
 * Tells a token's issuer or audience beside the option's, which mostly differ in little. The claims are
 * the issuer's own: its signature has been verified.
 */
function mismatchOf(error: unknown, { issuer, audience }: JwtIssuer): string | undefined {
  if (!(error instanceof errors.JWTClaimValidationFailed)) return undefined;
  const { iss, aud } = error.payload;
  if (error.claim === "iss") {
    const isSlash = typeof iss === "string" && withoutSlash(iss) === withoutSlash(issuer);
    const advice = isSlash ? "; they differ by the slash at the end only" : "";
    return `iss ${shown(iss)}, --caller-jwt-issuer is ${JSON.stringify(issuer)}${advice}`;
  }
  return error.claim === "aud"
    ? `aud ${shown(aud)}, --caller-jwt-audience is ${JSON.stringify(audience)}`
    : undefined;
}

function withoutSlash(text: string): string {
  return text.replace(/\/$/, "");
}

function shown(claim: unknown): string {
  return claim === undefined ? "is missing" : `is ${JSON.stringify(claim).slice(0, maxShownUnits)}`;
}

function reasonOf(error: unknown): DenialReason {
  if (error instanceof KeysUnavailableError) return "keys_unavailable";
  if (error instanceof errors.JWTExpired) return "expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    return reasonsByClaim[error.claim] ?? "claim";
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
