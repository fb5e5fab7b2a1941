/** A real Keycloak on loopback with a realm of its own: `KEYCLOAK_HOME` says where it was unpacked. */
import { freePort } from "../support/free_port.ts";
import { eventually } from "../support/deadline.ts";
import { clientId, clientSecret } from "../signin/fake_provider.ts";

/** Where Keycloak lies; without it, the tests of this folder are skipped. */
export const keycloakHome = Deno.env.get("KEYCLOAK_HOME");

const admin = { name: "admin", password: "admin-of-the-tests" };
/** Somebody of the realm. */
export const ann = { name: "ann", password: "password-of-ann", email: "ann@example.com" };
/** It builds itself at its first start, on a machine that others use too. */
const startMs = 300_000;

/** How the realm's client is registered. */
export interface KeycloakClient {
  readonly redirectUri: string;
  readonly signedOutUri: string;
  readonly backChannelLogoutUrl: string;
}

/** A running Keycloak. */
export class Keycloak implements AsyncDisposable {
  readonly scopes = ["openid", "email", "profile"];
  readonly #origin: string;
  readonly #child: Deno.ChildProcess;

  private constructor(origin: string, child: Deno.ChildProcess) {
    this.#origin = origin;
    this.#child = child;
  }

  get issuer(): string {
    return `${this.#origin}/realms/corp`;
  }

  /** Starts one and makes the realm. */
  static async start(home: string, client: KeycloakClient): Promise<Keycloak> {
    const port = freePort();
    const data = await Deno.makeTempDir({ prefix: "culvert-keycloak-" });
    const child = new Deno.Command(`${home}/bin/kc.sh`, {
      args: [
        ...["start-dev", "--http-host", "127.0.0.1", "--http-port", String(port)],
        ...["--http-management-port", String(freePort()), "--db", "dev-mem"],
      ],
      env: {
        KC_BOOTSTRAP_ADMIN_USERNAME: admin.name,
        KC_BOOTSTRAP_ADMIN_PASSWORD: admin.password,
        // Nothing of it stays, so that a second run begins like the first.
        TMPDIR: data,
      },
      ...{ stdin: "null", stdout: "null", stderr: "null" } as const,
    }).spawn();
    const keycloak = new Keycloak(`http://127.0.0.1:${port}`, child);
    try {
      await eventually(() => keycloak.#answers(), "Keycloak to answer", startMs);
      await keycloak.#makeRealm(client);
      return keycloak;
    } catch (error) {
      await keycloak[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #answers(): Promise<boolean> {
    try {
      const answer = await fetch(`${this.#origin}/realms/master`);
      await answer.body?.cancel();
      return answer.ok;
    } catch {
      return false;
    }
  }

  /** Ends somebody's sessions at Keycloak, which tells the client. */
  async logOut(username: string): Promise<void> {
    const users = await this.#admin("GET", `/realms/corp/users?exact=true&username=${username}`);
    const [{ id }] = await users.json() as [{ id: string }];
    const answer = await this.#admin("POST", `/realms/corp/users/${id}/logout`);
    await answer.body?.cancel();
  }

  async #makeRealm(client: KeycloakClient): Promise<void> {
    const realm = {
      ...{ realm: "corp", enabled: true, sslRequired: "none" },
      // Each refresh token counts once.
      ...{ revokeRefreshToken: true, refreshTokenMaxReuse: 0 },
      groups: [{ name: "ops" }, { name: "others" }],
      users: [{
        ...{ username: ann.name, email: ann.email, emailVerified: true, enabled: true },
        ...{ firstName: "Ann", lastName: "Example", groups: ["/ops"] },
        credentials: [{ type: "password", value: ann.password, temporary: false }],
      }],
      clients: [toClient(client)],
    };
    const answer = await this.#admin("POST", "/realms", realm);
    await answer.body?.cancel();
  }

  async #admin(method: string, path: string, body?: unknown): Promise<Response> {
    const token = await fetch(`${this.#origin}/realms/master/protocol/openid-connect/token`, {
      method: "POST",
      body: new URLSearchParams({
        ...{ grant_type: "password", client_id: "admin-cli" },
        ...{ username: admin.name, password: admin.password },
      }),
    });
    const { access_token } = await token.json();
    const answer = await fetch(`${this.#origin}/admin${path}`, {
      method,
      headers: { Authorization: `Bearer ${access_token}`, "Content-Type": "application/json" },
      ...body !== undefined && { body: JSON.stringify(body) },
    });
    if (!answer.ok) throw new Error(`Keycloak: ${method} ${path} came to ${answer.status}`);
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGTERM");
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof TypeError)) throw error;
    }
    await this.#child.status;
  }
}

function toClient({ redirectUri, signedOutUri, backChannelLogoutUrl }: KeycloakClient) {
  return {
    ...{ clientId, secret: clientSecret, redirectUris: [redirectUri], publicClient: false },
    attributes: {
      "post.logout.redirect.uris": signedOutUri,
      "backchannel.logout.url": backChannelLogoutUrl,
      "backchannel.logout.session.required": "true",
      "pkce.code.challenge.method": "S256",
    },
    protocolMappers: [{
      ...{ name: "groups", protocol: "openid-connect" },
      protocolMapper: "oidc-group-membership-mapper",
      config: {
        ...{ "claim.name": "groups", "full.path": "false" },
        ...{ "id.token.claim": "true", "userinfo.token.claim": "true" },
      },
    }],
  };
}
