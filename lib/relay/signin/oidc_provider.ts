/**
 * An OpenID Connect provider, through `openid-client`: authorization code flow with PKCE, nonce and
 * state, RFC 9207, refresh tokens. What it signs is verified here, wherever it came from.
 */
import {
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  type ClientMetadata,
  Configuration,
  type CustomFetch,
  customFetch,
  discovery,
  enableNonRepudiationChecks,
  fetchUserInfo,
  None,
  refreshTokenGrant,
  type ServerMetadata,
  type TokenEndpointResponse,
  type TokenEndpointResponseHelpers,
} from "openid-client";
import type { Clock } from "../../jwt/clock.ts";
import { ProviderError, providerErrorOf } from "./provider_error.ts";
import type { SessionProof } from "./sessions/sessions.ts";

/** What the provider's clock and this machine's may differ by, in seconds. */
export const leewaySeconds = 30;
/** How long one request to the provider may take, in seconds. */
const timeoutSeconds = 5;
/** Bytes of one of the provider's answers. */
const maxAnswerBytes = 1024 * 1024;
/** How long the provider's metadata count, in milliseconds: endpoints move rarely. */
const metadataFreshMs = 3_600_000;
/** The time between two attempts to fetch the metadata, in milliseconds. */
const metadataCooldownMs = 2_000;

/** How the relay is known to a provider. */
export interface OidcClient {
  /** The provider's name in the configuration. */
  readonly name: string;
  readonly issuer: string;
  readonly clientId: string;
  /** Undefined for a public client. */
  readonly clientSecret: string | undefined;
  readonly scopes: readonly string[];
  /** Names whom claims describe, or says why they name nobody. */
  readonly nameOf: (claims: Readonly<Record<string, unknown>>) => string | { fault: string };
}

/** What surrounds a provider. */
export interface ProviderContext {
  readonly clock: Clock;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
}

/** What a sign-in under way consists of, besides its page. */
export interface Attempt {
  readonly state: string;
  readonly nonce: string;
  /** The PKCE code verifier. */
  readonly verifier: string;
}

/** What a provider says of somebody. */
export interface VerifiedSignIn {
  readonly subject: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** Names of the claims that the last ID token had; the others are the userinfo endpoint's. */
  readonly tokenClaims: readonly string[];
  readonly refreshToken: string | undefined;
  /** The provider's own session. */
  readonly providerSession: string | undefined;
  /** The ID token's `iat`, in milliseconds since 1970. */
  readonly issuedMs: number;
  /** How far the provider's clock is ahead, in seconds. */
  readonly skewSeconds: number;
  /** The ID token itself; undefined where the provider sent none, as it need not at a refresh. */
  readonly proof: SessionProof | undefined;
}

/** What the provider said of somebody before. */
export interface KnownSignIn {
  readonly subject: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly tokenClaims?: readonly string[] | undefined;
}

type Tokens = TokenEndpointResponse & TokenEndpointResponseHelpers;

/** Talks to one provider. */
export class OidcProvider {
  readonly config: OidcClient;
  readonly #clock: Clock;
  readonly #fetch: CustomFetch;
  #metadata: ServerMetadata | undefined;
  #fetchedMs = -Infinity;
  #failedMs = -Infinity;
  #failure: ProviderError | undefined;
  #attempt: Promise<ServerMetadata> | undefined;

  constructor(config: OidcClient, { clock, fetch }: ProviderContext) {
    this.config = config;
    this.#clock = clock;
    this.#fetch = async (url, { body, headers, method, signal }) =>
      await bounded(
        await fetch(url, {
          ...body !== undefined && body !== null && { body },
          headers,
          method,
          redirect: "manual",
          ...signal && { signal },
        } as RequestInit),
      );
  }

  /** The URL to which a browser is sent. @throws {ProviderError} */
  async authorizationUrl(
    attempt: Attempt,
    redirectUri: string,
    prompt: string | undefined,
  ): Promise<string> {
    const configuration = await this.#configuration();
    return buildAuthorizationUrl(configuration, {
      redirect_uri: redirectUri,
      scope: this.config.scopes.join(" "),
      response_type: "code",
      state: attempt.state,
      nonce: attempt.nonce,
      code_challenge: await calculatePKCECodeChallenge(attempt.verifier),
      code_challenge_method: "S256",
      ...prompt !== undefined && { prompt },
    }).href;
  }

  /** Exchanges the code with which the browser came back. @throws {ProviderError} */
  async finish(callback: URL, attempt: Attempt): Promise<VerifiedSignIn> {
    const configuration = await this.#configuration();
    return await this.#verified(
      configuration,
      () =>
        authorizationCodeGrant(configuration, callback, {
          expectedState: attempt.state,
          expectedNonce: attempt.nonce,
          pkceCodeVerifier: attempt.verifier,
          idTokenExpected: true,
        }),
    );
  }

  /** Asks what holds for somebody now. @throws {ProviderError} */
  async refresh(token: string, known: KnownSignIn): Promise<VerifiedSignIn> {
    const configuration = await this.#configuration();
    const verified = await this.#verified(
      configuration,
      () => refreshTokenGrant(configuration, token),
      known,
    );
    // Who does not rotate refresh tokens need not send the old one again.
    return { ...verified, refreshToken: verified.refreshToken ?? token };
  }

  /** Where the browser ends the provider's own session; undefined if it has no such page. */
  async endSessionUrl(username: string, returnUrl: string): Promise<string | undefined> {
    const { end_session_endpoint } = await this.#metadataNow();
    const url = URL.parse(String(end_session_endpoint ?? ""));
    if (!url || !this.#mayAsk(url)) return undefined;
    url.searchParams.set("client_id", this.config.clientId);
    url.searchParams.set("logout_hint", username);
    url.searchParams.set("post_logout_redirect_uri", returnUrl);
    return url.href;
  }

  /** The URL of the provider's keys. @throws {ProviderError} */
  async keysUrl(): Promise<string> {
    const { jwks_uri } = await this.#metadataNow();
    const url = URL.parse(jwks_uri ?? "");
    if (!url || !this.#mayAsk(url)) {
      throw new ProviderError("invalid", "it names no URL of its keys");
    }
    return url.href;
  }

  get #isLoopback(): boolean {
    return new URL(this.config.issuer).protocol === "http:";
  }

  #mayAsk({ protocol }: URL): boolean {
    return protocol === "https:" || (this.#isLoopback && protocol === "http:");
  }

  async #verified(
    configuration: Configuration,
    ask: () => Promise<Tokens>,
    known?: KnownSignIn,
  ): Promise<VerifiedSignIn> {
    try {
      const tokens = await ask();
      const claims = tokens.claims();
      const subject = claims?.sub ?? known?.subject;
      if (subject === undefined || (known && subject !== known.subject)) {
        throw new ProviderError("ended", "the token belongs to another person");
      }
      const nowSeconds = this.#clock.nowMs() / 1_000;
      const skewSeconds = claims ? Math.round(claims.iat - nowSeconds) : 0;
      if (skewSeconds > leewaySeconds) throw clocksError(skewSeconds);
      const info = await this.#userInfo(configuration, tokens, subject);
      // Providers need not send an ID token again (OpenID Connect Core, 12.2): the last one counts.
      const told = claims ? withoutProtocolClaims(claims) : tokenClaimsOf(known);
      return {
        subject,
        claims: { ...withoutProtocolClaims(info), ...told },
        tokenClaims: Object.keys(told),
        refreshToken: tokens.refresh_token,
        providerSession: typeof claims?.["sid"] === "string" ? claims["sid"] : undefined,
        issuedMs: (claims?.iat ?? nowSeconds) * 1_000,
        skewSeconds,
        proof: claims && { jwt: tokens.id_token!, expiresMs: claims.exp * 1_000 },
      };
    } catch (error) {
      throw providerErrorOf(error);
    }
  }

  async #userInfo(
    configuration: Configuration,
    tokens: Tokens,
    subject: string,
  ): Promise<Record<string, unknown>> {
    if (!configuration.serverMetadata().userinfo_endpoint) return {};
    return await fetchUserInfo(configuration, tokens.access_token, subject);
  }

  /** A new one each time: it keeps keys for minutes, and a provider may have others by now. */
  async #configuration(): Promise<Configuration> {
    const { clientId, clientSecret } = this.config;
    // `client_secret` makes it authenticate by `client_secret_post`.
    const metadata: Partial<ClientMetadata> = clientSecret === undefined
      ? {}
      : { client_secret: clientSecret };
    const configuration = new Configuration(
      await this.#metadataNow(),
      clientId,
      metadata,
      clientSecret === undefined ? None() : undefined,
    );
    configuration[customFetch] = this.#fetch;
    configuration.timeout = timeoutSeconds;
    enableNonRepudiationChecks(configuration);
    if (this.#isLoopback) allowInsecureRequests(configuration);
    return configuration;
  }

  async #metadataNow(): Promise<ServerMetadata> {
    const now = this.#clock.monotonicMs();
    if (this.#metadata && now - this.#fetchedMs < metadataFreshMs) return this.#metadata;
    if (this.#failure && now - this.#failedMs < metadataCooldownMs) {
      if (this.#metadata) return this.#metadata;
      throw this.#failure;
    }
    this.#attempt ??= this.#discover().finally(() => this.#attempt = undefined);
    return await this.#attempt;
  }

  async #discover(): Promise<ServerMetadata> {
    const { issuer, clientId } = this.config;
    try {
      const found = await discovery(new URL(issuer), clientId, undefined, None(), {
        [customFetch]: this.#fetch,
        timeout: timeoutSeconds,
        execute: this.#isLoopback ? [allowInsecureRequests] : [],
      });
      this.#metadata = found.serverMetadata();
      this.#fetchedMs = this.#clock.monotonicMs();
      this.#failure = undefined;
      return this.#metadata;
    } catch (error) {
      this.#failure = providerErrorOf(error, "unavailable");
      this.#failedMs = this.#clock.monotonicMs();
      // Endpoints seldom move: while the provider is away, the last ones are as good as any.
      if (this.#metadata) return this.#metadata;
      throw this.#failure;
    }
  }
}

function clocksError(skewSeconds: number): ProviderError {
  return new ProviderError(
    "clocks",
    `the provider's clock is ${skewSeconds} s ahead of this machine's; ${leewaySeconds} s are accepted`,
  );
}

/** What an ID token says of itself, not of a person. */
const protocolClaims = new Set([
  ...["aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash", "jti"],
]);

/** What the last ID token said; all that is known, where that was not kept apart. */
function tokenClaimsOf(known: KnownSignIn | undefined): Record<string, unknown> {
  const { claims = {}, tokenClaims = Object.keys(claims) } = known ?? {};
  return Object.fromEntries(tokenClaims.map((name) => [name, claims[name]]));
}

function withoutProtocolClaims(claims: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !protocolClaims.has(name)));
}

/** The same answer, read as far as its limit. @throws {ProviderError} beyond that */
async function bounded(response: Response): Promise<Response> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const bytes of response.body ?? []) {
    length += bytes.length;
    if (length > maxAnswerBytes) {
      throw new ProviderError("invalid", `an answer is over ${maxAnswerBytes} bytes`);
    }
    pieces.push(bytes);
  }
  const { status, headers } = response;
  const body = [204, 205, 304].includes(status)
    ? null
    : await new Blob(pieces as BlobPart[]).arrayBuffer();
  return new Response(body, { status, headers });
}
