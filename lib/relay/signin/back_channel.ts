/** OpenID Connect Back-Channel Logout 1.0: the provider tells that somebody has signed out there. */
import { decodeJwt, errors, type JWTPayload, jwtVerify } from "jose";
import { IssuerKeys, KeysUnavailableError } from "../../jwt/keys.ts";
import { AuthThrottle, untilDue } from "../auth_throttle.ts";
import { leewaySeconds, type OidcProvider } from "./oidc_provider.ts";
import { json, jsonError, readForm } from "./own_request.ts";
import { ProviderError } from "./provider_error.ts";
import type { SignIn } from "./sign_in.ts";

/** How old a logout token may be, in seconds. */
const maxAgeSeconds = 300;
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout";
/** The algorithms of signatures by a private key, as for ID tokens. */
const algorithms = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** Takes logout tokens. */
export class BackChannel {
  readonly #signIn: SignIn;
  readonly #keys = new WeakMap<OidcProvider, IssuerKeys>();
  readonly #throttle: AuthThrottle;

  constructor(signIn: SignIn) {
    this.#signIn = signIn;
    this.#throttle = new AuthThrottle(() => signIn.context.clock.monotonicMs());
  }

  /** Answers a logout request; 400 for anything that is none, without a reason (section 2.8). */
  async answer(request: Request, address: string): Promise<Response> {
    const form = await readForm(request);
    const fault = await this.#take(form?.get("logout_token") ?? "");
    if (fault === undefined) return json(200, {});
    this.#signIn.context.log.warn("Refused a back-channel logout", {
      reason: fault,
      peer: address,
    });
    const delay = this.#throttle.add(address);
    if (delay.kind === "never") return jsonError(429, "too_many", "too many refused logout tokens");
    await untilDue(delay);
    return jsonError(400, "invalid_request", "the logout token is not accepted");
  }

  /** @returns why the token is not taken, or nothing */
  async #take(token: string): Promise<string | undefined> {
    const { clock, log, sessions } = this.#signIn.context;
    const provider = this.#providerOf(token);
    if (!provider) return "no provider has this issuer";
    const claims = await this.#verify(provider, token);
    if (typeof claims === "string") return claims;
    const { iss, sub, sid, jti, iat } = claims as JWTPayload & { sid?: string };
    // The provider's clock may be ahead: until then its token is taken, so its id is remembered.
    const untilMs = clock.nowMs() + (maxAgeSeconds + 2 * leewaySeconds) * 1_000;
    if (!await sessions.useOnce(`logout ${iss} ${jti}`, untilMs)) return "the token came before";
    const ended = await sessions.endOf({
      issuer: iss!,
      subject: sub,
      providerSession: sid,
      issuedMs: iat! * 1_000,
    });
    const { name } = provider.config;
    log.info("Signed out by the provider", { provider: name, sessions: ended });
    const reason = "signed out by the provider";
    this.#signIn.context.audit?.("session_ended", { provider: name, sessions: ended, reason });
    return undefined;
  }

  #providerOf(token: string): OidcProvider | undefined {
    try {
      const { iss, aud } = decodeJwt(token);
      // The relay may be several clients of one issuer.
      const ofIssuer = this.#signIn.providers.filter(({ config }) => config.issuer === iss);
      return ofIssuer.find(({ config }) => [aud].flat().includes(config.clientId)) ?? ofIssuer[0];
    } catch (error) {
      if (error instanceof errors.JOSEError) return undefined;
      throw error;
    }
  }

  async #verify(provider: OidcProvider, token: string): Promise<JWTPayload | string> {
    const { clock } = this.#signIn.context;
    const { issuer, clientId } = provider.config;
    try {
      const keys = await this.#keysOf(provider);
      const { payload, protectedHeader } = await jwtVerify(
        token,
        (header, jws) => keys.find(header, jws),
        {
          issuer,
          audience: clientId,
          algorithms,
          clockTolerance: leewaySeconds,
          currentDate: new Date(clock.nowMs()),
          maxTokenAge: maxAgeSeconds,
          requiredClaims: ["iat", "jti", "events"],
        },
      );
      return faultOf(payload, protectedHeader.typ) ?? payload;
    } catch (error) {
      if (error instanceof errors.JOSEError) return error.message;
      if (error instanceof KeysUnavailableError || error instanceof ProviderError) {
        return "the provider's keys can't be fetched";
      }
      // A key of the provider's that does not fit its algorithm.
      if (error instanceof TypeError || error instanceof DOMException) return "no key fits";
      throw error;
    }
  }

  async #keysOf(provider: OidcProvider): Promise<IssuerKeys> {
    const known = this.#keys.get(provider);
    if (known) return known;
    const { clock, fetch } = this.#signIn.context;
    const keys = new IssuerKeys({
      url: await provider.keysUrl(),
      clock,
      fetch,
      events: { fetched() {}, failed() {} },
      replaced() {},
    });
    this.#keys.set(provider, keys);
    return keys;
  }
}

/** What a logout token must have besides a signature (sections 2.4 and 2.6). */
function faultOf(claims: JWTPayload, typ: string | undefined): string | undefined {
  // Many providers write none; `events` tells these tokens from all others then.
  const isLogoutToken = typ === undefined || /^(?:application\/)?logout\+jwt$/i.test(typ);
  if (!isLogoutToken) return "the token is of another type";
  if (claims["nonce"] !== undefined) return "the token has a nonce";
  const { events, sub, sid } = claims as { events?: unknown; sub?: unknown; sid?: unknown };
  const isLogout = typeof events === "object" && events !== null &&
    isObject((events as Record<string, unknown>)[logoutEvent]);
  if (!isLogout) return "the token is about another event";
  if (typeof claims.jti !== "string") return "the token has no id";
  const names = [sub, sid].filter((name) => name !== undefined);
  return names.length > 0 && names.every((name) => typeof name === "string")
    ? undefined
    : "the token names no person";
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
