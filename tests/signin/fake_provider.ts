/** An OpenID provider in the test's own process, without sockets, that can be told to misbehave. */
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from "jose";

/** Somebody who can sign in. */
export type Account = Record<string, unknown> & { sub: string };

interface Authorization {
  readonly account: Account;
  readonly nonce: string;
  readonly challenge: string;
  readonly redirectUri: string;
  readonly scope: string;
}

interface Keys {
  readonly kid: string;
  readonly privateKey: Key;
  readonly publicKey: Key;
}

type Key = Awaited<ReturnType<typeof generateKeyPair>>["publicKey"];

/** The client that the provider knows. */
export const clientId = "culvert";
export const clientSecret = "client-secret-client-secret";

/** A provider that listens. */
export interface ListeningProvider extends AsyncDisposable {
  readonly provider: FakeProvider;
}

export class FakeProvider {
  issuer = "https://idp.example.net";
  /** Who signs in next. */
  account: Account = {
    sub: "ann-1",
    email: "ann@example.com",
    email_verified: true,
    groups: ["ops"],
  };
  /** Changes an ID token before it is signed. */
  mutate: (claims: JWTPayload, header: Record<string, unknown>) => void = () => {};
  /** Signs in another way. */
  sign: ((claims: JWTPayload) => Promise<string>) | undefined;
  /** Changes what goes back with the browser. */
  respond: (params: URLSearchParams) => void = () => {};
  isDown = false;
  /** How refreshing goes. */
  refreshing: "ok" | "invalid_grant" | "down" = "ok";
  /** Whether a refresh brings an ID token, and whether there is a userinfo endpoint. */
  refreshBringsIdToken = true;
  hasUserInfo = true;
  /** Values of its metadata that differ from the usual. */
  metadata: Record<string, unknown> = {};
  /** Answers in place of a path's own. */
  readonly answers = new Map<string, () => Response>();
  /** Whether it says that its answers name it (RFC 9207). */
  announcesIss = true;
  /** What the ID token says besides the protocol's own claims; all of the account unless told. */
  idTokenClaims: Record<string, unknown> | undefined;
  /** What was asked for, by path. */
  readonly requests: string[] = [];
  /** Parameters of the last authorization request. */
  asked: URLSearchParams | undefined;
  readonly #codes = new Map<string, Authorization>();
  readonly #refresh = new Map<string, Account>();
  readonly #access = new Map<string, Account>();
  #keys: Keys[] = [];

  static async create(): Promise<FakeProvider> {
    const provider = new FakeProvider();
    await provider.rotate();
    return provider;
  }

  /** Creates one behind a socket of loopback. */
  static async listen(): Promise<ListeningProvider> {
    const provider = await FakeProvider.create();
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      async (request) => {
        const url = new URL(request.url);
        if (url.pathname === "/authorize") return provider.authorize(url);
        const { method, headers } = request;
        const body = method === "POST" ? await request.text() : undefined;
        try {
          return await provider.fetch(request.url, {
            method,
            headers,
            ...body !== undefined && { body },
          });
        } catch {
          return new Response("away", { status: 503 });
        }
      },
    );
    provider.issuer = `http://127.0.0.1:${server.addr.port}`;
    return { provider, [Symbol.asyncDispose]: () => server.shutdown() };
  }

  /** Signs with a new key from now on, and forgets the ones before. */
  async rotate(): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
    this.#keys = [{ kid: crypto.randomUUID(), privateKey, publicKey }];
  }

  get publicKey(): Key {
    return this.#keys[0]!.publicKey;
  }

  /** How often a path was asked for. */
  count(path: string): number {
    return this.requests.filter((it) => it === path).length;
  }

  /** What a browser gets that comes to sign in: back at once. */
  authorize(url: URL): Response {
    this.requests.push(url.pathname);
    const { searchParams: asked } = url;
    this.asked = asked;
    const code = crypto.randomUUID();
    this.#codes.set(code, {
      account: this.account,
      nonce: asked.get("nonce")!,
      challenge: asked.get("code_challenge")!,
      redirectUri: asked.get("redirect_uri")!,
      scope: asked.get("scope")!,
    });
    const back = new URL(asked.get("redirect_uri")!);
    back.searchParams.set("code", code);
    back.searchParams.set("state", asked.get("state")!);
    back.searchParams.set("iss", this.issuer);
    this.respond(back.searchParams);
    return new Response(null, { status: 302, headers: { Location: back.href } });
  }

  /** Answers the relay. */
  fetch = async (input: string, init: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const { pathname } = new URL(request.url);
    this.requests.push(pathname);
    if (this.isDown) throw new TypeError("connection refused");
    const instead = this.answers.get(pathname);
    if (instead) return instead();
    switch (pathname) {
      case "/.well-known/openid-configuration":
        return Response.json(this.#metadata());
      case "/jwks": {
        const keys = this.#keys.map(async ({ kid, publicKey }) => ({
          ...await exportJWK(publicKey),
          kid,
          alg: "RS256",
          use: "sig",
        }));
        return Response.json({ keys: await Promise.all(keys) });
      }
      case "/token":
        return await this.#token(new URLSearchParams(await request.text()));
      case "/userinfo": {
        const token = request.headers.get("authorization")?.replace("Bearer ", "") ?? "";
        const account = this.#access.get(token);
        return account ? Response.json(account) : new Response(null, { status: 401 });
      }
      default:
        return new Response(null, { status: 404 });
    }
  };

  #metadata() {
    const { issuer } = this;
    return {
      issuer,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      ...this.hasUserInfo && { userinfo_endpoint: `${issuer}/userinfo` },
      jwks_uri: `${issuer}/jwks`,
      end_session_endpoint: `${issuer}/logout`,
      response_types_supported: ["code"],
      id_token_signing_alg_values_supported: ["RS256"],
      authorization_response_iss_parameter_supported: this.announcesIss,
      code_challenge_methods_supported: ["S256"],
      ...this.metadata,
    };
  }

  async #token(form: URLSearchParams): Promise<Response> {
    if (form.get("client_secret") !== clientSecret) return refusal("invalid_client", 401);
    if (form.get("grant_type") === "refresh_token") return await this.#renew(form);
    const granted = this.#codes.get(form.get("code") ?? "");
    this.#codes.delete(form.get("code") ?? "");
    if (!granted || granted.redirectUri !== form.get("redirect_uri")) {
      return refusal("invalid_grant");
    }
    const verifier = new TextEncoder().encode(form.get("code_verifier") ?? "");
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", verifier));
    const challenge = digest.toBase64({ alphabet: "base64url", omitPadding: true });
    if (challenge !== granted.challenge) return refusal("invalid_grant");
    return await this.#grant(granted.account, granted.nonce);
  }

  async #renew(form: URLSearchParams): Promise<Response> {
    if (this.refreshing === "down") return new Response("away", { status: 503 });
    const token = form.get("refresh_token") ?? "";
    const known = this.#refresh.get(token);
    // Rotation: an old one is never good again.
    this.#refresh.delete(token);
    if (!known || this.refreshing !== "ok") return refusal("invalid_grant");
    const account = this.account.sub === known.sub ? this.account : known;
    return await this.#grant(account, undefined, this.refreshBringsIdToken);
  }

  async #grant(
    account: Account,
    nonce: string | undefined,
    bringsIdToken = true,
  ): Promise<Response> {
    const [accessToken, refreshToken] = [crypto.randomUUID(), crypto.randomUUID()];
    this.#access.set(accessToken, account);
    this.#refresh.set(refreshToken, account);
    return Response.json({
      access_token: accessToken,
      token_type: "Bearer",
      expires_in: 300,
      refresh_token: refreshToken,
      ...bringsIdToken && { id_token: await this.#idToken(account, nonce) },
    });
  }

  async #idToken({ sub }: Account, nonce: string | undefined): Promise<string> {
    const now = Math.floor(Date.now() / 1_000);
    const claims: JWTPayload = {
      iss: this.issuer,
      aud: clientId,
      sub,
      iat: now,
      exp: now + 300,
      sid: `idp-${sub}`,
      ...this.idTokenClaims,
      ...nonce !== undefined && { nonce },
    };
    const header: Record<string, unknown> = { alg: "RS256", kid: this.#keys[0]!.kid };
    this.mutate(claims, header);
    if (this.sign) return await this.sign(claims);
    return await new SignJWT(claims).setProtectedHeader(header as { alg: string })
      .sign(this.#keys[0]!.privateKey);
  }

  /** A logout token, right unless changed. */
  async logoutToken(
    change: (claims: JWTPayload, header: Record<string, unknown>) => void = () => {},
  ): Promise<string> {
    const claims: JWTPayload = {
      iss: this.issuer,
      aud: clientId,
      sub: this.account.sub,
      iat: Math.floor(Date.now() / 1_000),
      jti: crypto.randomUUID(),
      events: { "http://schemas.openid.net/event/backchannel-logout": {} },
    };
    const header: Record<string, unknown> = {
      alg: "RS256",
      kid: this.#keys[0]!.kid,
      typ: "logout+jwt",
    };
    change(claims, header);
    return await new SignJWT(claims).setProtectedHeader(header as { alg: string })
      .sign(this.#keys[0]!.privateKey);
  }
}

/** A token that nobody has signed. */
export function unsigned(claims: JWTPayload): Promise<string> {
  return Promise.resolve(new UnsecuredJWT(claims).encode());
}

function refusal(error: string, status = 400): Response {
  return Response.json({ error }, { status });
}
