/** What the attacks are tried on: culvert's programs, and oauth2-proxy, each in front of one target. */
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { clientId, clientSecret, FakeProvider } from "../signin/fake_provider.ts";

/** Something that signs people in before it lets them through to a target. */
export interface Subject extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
  readonly provider: FakeProvider;
  /** Heads of the requests that the target has got. */
  readonly received: string[];
  /** The name of the session's cookie. */
  readonly cookie: string;
  /** A part of the names of the cookies of sign-ins under way. */
  readonly transaction: string;
  /** Where the provider sends the browser back at last. */
  readonly callback: string;
  /** Signs out; the request that a button of its own sends. */
  readonly signOut: { readonly method: string; readonly path: string };
  /** URLs with which one could try to be led elsewhere, `EVIL` standing for where. */
  readonly redirects: readonly string[];
}

async function mirror(received: string[]) {
  return await startRawTarget(answering(({ bytes }) => {
    const head = new TextDecoder("latin1").decode(bytes);
    received.push(head);
    if (head.startsWith("GET /socket ")) {
      return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    }
    return "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\n" +
      `Set-Cookie: wide=1; Domain=localhost\r\nContent-Length: ${bytes.length}\r\n\r\n${head}`;
  }));
}

/** culvert's relay and agent. */
export async function startCulvert(): Promise<Subject> {
  const stack = new AsyncDisposableStack();
  const received: string[] = [];
  const target = stack.use(await mirror(received));
  const { provider } = stack.use(await FakeProvider.listen());
  const port = freePort();
  const folder = await Deno.makeTempDir();
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const services = `${folder}/services.yaml`;
  const service = (name: string) =>
    `{ name: ${name}, hostnames: ["${name}.localhost:${port}"], cluster: one, ` +
    `target: "${target.address}", policy: staff, anonymousPaths: [/public/], ` +
    `identity: { headers: { X-Forwarded-User: username, X-Forwarded-Email: username } } }`;
  await Deno.writeTextFile(
    services,
    `
login: { host: "login.localhost:${port}" }
providers:
  - { name: corp, kind: oidc, issuer: "${provider.issuer}", clientId: ${clientId},
      clientSecret: ${clientSecret} }
policies: [{ name: staff, any: [{ emailDomain: example.com }] }]
services: [${service("app")}, ${service("other")}]
`,
  );
  const token = "token-of-the-comparison-0123456789";
  const relay = stack.use(
    await startRelay({
      clusters: [{ id: "one", token, targetAddr: target.address }],
      args: ["-services", services, "-web-addr", `127.0.0.1:${port}`],
    }),
  );
  stack.use(await startAgent({ relayUrl: relay.connectUrl, token, target: target.address }));
  await relay.waitForAgent("one");
  const owned = stack.move();
  return {
    ...{ name: "culvert", port, provider, received },
    cookie: "culvert-dev",
    transaction: "-t-",
    callback: "/.culvert/callback",
    signOut: { method: "POST", path: "/.culvert/logout" },
    redirects: ["EVIL", "/.culvert/login?rd=EVIL", "/.culvert/callback?code=x&rd=EVIL"],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** oauth2-proxy with what it has for the security of sessions turned on, as far as HTTP allows. */
export async function startOauth2Proxy(binary: string): Promise<Subject> {
  const stack = new AsyncDisposableStack();
  const received: string[] = [];
  const target = stack.use(await mirror(received));
  const { provider } = stack.use(await FakeProvider.listen());
  const port = freePort();
  const child = new Deno.Command(binary, {
    args: [
      ...["--http-address", `127.0.0.1:${port}`, "--upstream", `http://${target.address}`],
      ...["--provider", "oidc", "--oidc-issuer-url", provider.issuer],
      ...["--client-id", clientId, "--client-secret", clientSecret, "--scope", "openid email"],
      ...["--cookie-secret", "0123456789abcdef0123456789abcdef", "--cookie-secure=false"],
      ...["--email-domain", "example.com", "--skip-provider-button"],
      // None of these is its default.
      ...["--code-challenge-method", "S256", "--insecure-oidc-skip-nonce=false"],
      ...["--cookie-csrf-per-request=true", "--cookie-csrf-per-request-limit=5"],
      ...["--cookie-samesite", "lax", "--skip-auth-route", "^/public/"],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  stack.defer(async () => {
    child.kill("SIGTERM");
    await child.status;
  });
  await eventually(async () => {
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/ping`);
      await answer.body?.cancel();
      return answer.ok;
    } catch {
      return false;
    }
  }, "oauth2-proxy to listen");
  const owned = stack.move();
  return {
    ...{ name: "oauth2-proxy", port, provider, received },
    cookie: "_oauth2_proxy",
    transaction: "_csrf",
    callback: "/oauth2/callback",
    signOut: { method: "GET", path: "/oauth2/sign_out" },
    redirects: ["EVIL", "/oauth2/start?rd=EVIL", "/oauth2/sign_in?rd=EVIL"],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
