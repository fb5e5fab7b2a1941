/** Callers' JWTs: who signed them, for whom, until when, and which clusters their claims open. */
import type { JWTPayload } from "jose";
import type { ClaimRule, JwtIssuer } from "../../domain/callers.ts";
import { callerJwtProvider, type ClaimNames } from "../../domain/provider.ts";
import { callersUnavailable, callerUnknown } from "../caller_errors.ts";
import { jwtEndMs, JwtRefusal, verifyJwt } from "../../jwt/verify.ts";
import { valuesAt } from "../../policies/claims.ts";
import { TokenClaims } from "../../policies/caller_attributes.ts";
import { Denial, type Grant, type Person } from "./caller.ts";
import { isPrintableName, nameFault } from "../../domain/printable_name.ts";
import type { Clock } from "../../jwt/clock.ts";
import type { IssuerKeys } from "../../jwt/keys.ts";
import { NamePatterns } from "../../domain/name_patterns.ts";
import type { TokenOwner } from "./tokens.ts";

/** What policies read in callers' JWTs; their name is `sub`, as in logs. */
const callerClaims: ClaimNames = {
  username: ["sub"],
  groups: "groups",
  verifiedEmail: { claim: "email_verified" },
};

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
    const payload = await verifyJwt(token, (header, jws) => this.#keys.find(header, jws), {
      issuer: this.#issuer.issuer,
      audience: this.#issuer.audience,
      requiredClaims: ["exp", "sub"],
      nowMs: this.#clock.nowMs(),
      names: { issuer: "--caller-jwt-issuer", audience: "--caller-jwt-audience" },
    });
    return payload instanceof JwtRefusal ? toDenial(payload) : this.#owner(payload);
  }

  /** The clusters that verified claims open. */
  clustersOf(payload: JWTPayload): NamePatterns {
    const rules = this.#rules.filter(({ path, value }) =>
      valuesAt(payload, path, value).length > 0
    );
    return new NamePatterns(rules.flatMap((rule) => rule.clusters));
  }

  #personOf(payload: JWTPayload, username: string): Person {
    return {
      verifiedClaims: new TokenClaims(callerJwtProvider, payload, callerClaims),
      issuer: this.#issuer.issuer,
      subject: username,
      username,
      sessionId: isPrintableName(payload.jti) ? payload.jti : "",
    };
  }

  #owner(payload: JWTPayload): TokenOwner | Denial {
    // What an issuer signs need not be what RFC 7519 section 4.1.2 asks for.
    const name: unknown = payload.sub;
    if (!isPrintableName(name)) return new Denial("name", callerUnknown, `sub ${nameFault(name)}`);
    const expiresMs = jwtEndMs(payload);
    const grant: Grant = {
      expiresMs,
      isValid: (nowMs) => nowMs < expiresMs && this.#inUse() !== undefined,
      mayReach: (cluster, nowMs) =>
        nowMs < expiresMs && (this.#inUse()?.clustersOf(payload).matches(cluster) ?? false),
    };
    const clusters = this.clustersOf(payload);
    return {
      caller: { kind: "jwt", name, clusters, grant, person: this.#personOf(payload, name) },
      expiresMs,
    };
  }
}

/** What a caller is told about a JWT that is refused. */
export function toDenial({ fault, detail }: JwtRefusal): Denial {
  const answer = fault === "keys_unavailable" ? callersUnavailable : callerUnknown;
  return new Denial(fault, answer, detail);
}

interface Rule {
  readonly path: readonly string[];
  readonly value: NamePatterns;
  readonly clusters: readonly string[];
}

function toRule({ claim, value, clusters }: ClaimRule): Rule {
  const path = typeof claim === "string" ? [claim] : claim;
  return { path, value: new NamePatterns([value]), clusters };
}
