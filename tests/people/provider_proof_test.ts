/** Agents that verify by a provider's own ID token who somebody is, with the real programs. */
import { equal, match, ok } from "node:assert/strict";
import { clientId, clientSecret } from "../signin/fake_provider.ts";
import { RealOidcProvider } from "../signin/oidc_provider.ts";
import { SocketBrowser } from "../signin/programs.ts";
import { freePort } from "../support/free_port.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { answering, startRawTarget } from "../support/target.ts";

const token = "provider-proof-token-0123456789";

/** Answers with the head that it got. */
const apiServer = answering(({ bytes }) => {
  const head = new TextDecoder().decode(bytes);
  return `HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n${head}`;
});

Deno.test("an agent impersonates whom the provider's ID token names, and nobody whom only the relay names", async (t) => {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir();
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const target = stack.use(await startRawTarget(apiServer));
  const port = freePort();
  const login = `http://login.localhost:${port}/.culvert`;
  const provider = stack.use(
    await RealOidcProvider.start(`${login}/callback`, `${login}/signed-out`, {
      groups: ["platform"],
    }),
  );
  const services = {
    login: { host: `login.localhost:${port}` },
    providers: [{
      ...{ name: "corp", kind: "oidc", issuer: provider.issuer, clientId, clientSecret },
      scopes: ["openid", "email", "offline_access"],
    }],
    policies: [{ name: "staff", any: [{ claim: "groups", value: "platform" }, { token: "ci" }] }],
    services: [{
      ...{ name: "kube", hostnames: [`kube.localhost:${port}`], cluster: "dev", target: "api" },
      policy: "staff",
      identity: {
        impersonate: {
          ...{ prefix: "corp:", groups: { platform: ["ops"] } },
          callers: { "token:ci": { groups: ["ops"] } },
        },
      },
    }],
  };
  await Deno.writeTextFile(`${folder}/services.json`, JSON.stringify(services));
  const callers = [{ name: "ci", token: "token-of-the-ci-job", clusters: ["*"] }];
  const relay = stack.use(
    await startRelay({
      clusters: [{ id: "dev", token, targetAddr: "api" }],
      args: [
        ...["-web-addr", `127.0.0.1:${port}`, "-services", `${folder}/services.json`],
        ...["-caller-tokens", JSON.stringify(callers)],
      ],
    }),
  );
  const targets = [{
    ...{ name: "api", address: target.address },
    impersonate: {
      ...{ proof: "provider", issuer: provider.issuer, audience: [clientId] },
      ...{ jwksUrl: `${provider.issuer}/jwks`, username: "sub", prefix: "corp:", groups: ["ops"] },
    },
  }];
  await Deno.writeTextFile(`${folder}/targets.json`, JSON.stringify({ targets }));
  stack.use(
    await startAgent({
      ...{ relayUrl: relay.connectUrl, token },
      args: ["-targets", `${folder}/targets.json`],
    }),
  );
  await relay.waitForAgent("dev");

  await t.step(
    "a person's session brings the ID token, which the target does not see",
    async () => {
      const page = await new SocketBrowser().open(`http://kube.localhost:${port}/api`);
      equal(page.status, 200, page.text);
      match(page.text, /^Impersonate-User: corp:ann\r$/m);
      match(page.text, /^Impersonate-Group: ops\r$/m);
      ok(!/culvert-|eyJ/i.test(page.text.replaceAll(/^via: .*$/gim, "")), page.text);
    },
  );

  await t.step(
    "a program of which no provider knows is refused, and the target not asked",
    async () => {
      const before = target.connections.length;
      const answer = await new SocketBrowser().send(`http://kube.localhost:${port}/api`, {
        headers: { "Culvert-Authorization": "Bearer token-of-the-ci-job" },
      });
      equal(answer.status, 403);
      match(answer.text, /no_proof|impersonation/);
      equal(target.connections.length, before);
    },
  );
});
