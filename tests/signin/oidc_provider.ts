/** npm's `oidc-provider`, a certified OpenID provider, on a free port of loopback. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { once } from "node:events";
import Provider from "oidc-provider";
import { clientId, clientSecret } from "./fake_provider.ts";

/** The part of its type that is used: it has none of its own. */
interface OidcProviderServer {
  callback(): (request: unknown, response: unknown) => void;
  interactionDetails(request: unknown, response: unknown): Promise<Interaction>;
  interactionFinished(
    request: unknown,
    response: unknown,
    result: unknown,
    options: unknown,
  ): Promise<void>;
  Grant: new (values: unknown) => { addOIDCScope(scope: string): void; save(): Promise<string> };
  on(event: string, listener: (...values: unknown[]) => void): void;
}

interface Interaction {
  readonly prompt: { readonly name: string };
  readonly params: Record<string, string>;
  readonly session?: { readonly accountId: string };
}

/** How it treats people. */
export interface RealOidcProviderOptions {
  /** Whether people see a page with a button that signs them in; else they sign in unasked. */
  readonly showsLogin?: boolean;
  /** What the claim `groups` tells; without it, no token has one. */
  readonly groups?: readonly string[];
}

/** Signs everybody in as one account. */
export class RealOidcProvider implements AsyncDisposable {
  readonly issuer: string;
  readonly scopes = ["openid", "email", "offline_access"];
  readonly errors: string[] = [];
  readonly #server: Server;

  private constructor(server: Server, issuer: string) {
    this.#server = server;
    this.issuer = issuer;
  }

  static async start(
    redirectUri: string,
    logoutUri: string,
    { showsLogin = false, groups }: RealOidcProviderOptions = {},
  ): Promise<RealOidcProvider> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const issuer = `http://127.0.0.1:${port}`;
    const real = new RealOidcProvider(server, issuer);
    const provider = makeProvider(issuer, redirectUri, logoutUri, groups);
    provider.on("server_error", (_context, error) => real.errors.push(String(error)));
    const answer = provider.callback();
    server.on("request", (request, response) => {
      if (!request.url!.startsWith("/interaction/")) return answer(request, response);
      interact(provider, request, response, showsLogin).catch((error) => {
        real.errors.push(String(error));
        response.statusCode = 500;
        response.end();
      });
    });
    return real;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

function makeProvider(
  issuer: string,
  redirectUri: string,
  logoutUri: string,
  groups: readonly string[] | undefined,
): OidcProviderServer {
  return new (Provider as unknown as new (issuer: string, options: unknown) => OidcProviderServer)(
    issuer,
    {
      clients: [{
        client_id: clientId,
        client_secret: clientSecret,
        redirect_uris: [redirectUri],
        post_logout_redirect_uris: [logoutUri],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        token_endpoint_auth_method: "client_secret_post",
      }],
      claims: { openid: ["sub"], email: ["email", "email_verified", ...groups ? ["groups"] : []] },
      cookies: { keys: ["some-secret-of-the-test"] },
      features: { devInteractions: { enabled: false } },
      interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
      pkce: { required: () => true },
      rotateRefreshToken: true,
      issueRefreshToken: () => true,
      findAccount: (_context: unknown, id: string) => ({
        accountId: id,
        claims: () => ({
          sub: id,
          email: `${id}@example.com`,
          email_verified: true,
          ...groups && { groups },
        }),
      }),
    },
  );
}

async function interact(
  provider: OidcProviderServer,
  request: IncomingMessage,
  response: ServerResponse,
  showsLogin: boolean,
): Promise<void> {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  const options = { mergeWithLastSubmission: true };
  if (prompt.name === "login") {
    if (showsLogin && request.method === "GET") return showLogin(response);
    const result = { login: { accountId: "ann" } };
    return await provider.interactionFinished(request, response, result, options);
  }
  const grant = new provider.Grant({
    accountId: session!.accountId,
    clientId: params["client_id"],
  });
  grant.addOIDCScope(params["scope"]!);
  const result = { consent: { grantId: await grant.save() } };
  await provider.interactionFinished(request, response, result, options);
}

/** Its form goes to the page's own URL. */
function showLogin(response: ServerResponse): void {
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(
    `<!doctype html><title>Log in</title><h1>Log in at the provider</h1>
<form method="post"><button>Log in as ann</button></form>`,
  );
}
