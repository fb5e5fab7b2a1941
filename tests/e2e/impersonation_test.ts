/** Who a person is to a real API server that is reached through an agent that impersonates. */
import { equal, match, ok } from "node:assert/strict";
import { exportPKCS8, exportSPKI, generateKeyPair, SignJWT } from "jose";
import { Issuer, type IssuerKey, makeKey } from "../callers/issuer.ts";
import { loopbackFiles } from "../support/certificates.ts";
import { Program, startRelay } from "../support/programs.ts";
import { clusterTest, fromEnvironment } from "./environment.ts";
import { KubeClient } from "./kube_client.ts";

const agentToken = "e2e-agent-token-0123456789";
const issuerName = "https://issuer.example";
const group = "culvert-e2e-ops";

/** What a member of the group may do. */
const rights = [
  ...["create", "clusterrole", group, "--verb=get,list,watch", "--resource=pods,pods/log"],
];
const binding = [
  ...["create", "clusterrolebinding", group, `--clusterrole=${group}`, `--group=${group}`],
];

async function bearerOf(key: IssuerKey, sub: string, groups: readonly string[]): Promise<string> {
  return await new SignJWT({ sub, groups, jti: `session-of-${sub}` })
    .setProtectedHeader({ alg: "ES256", kid: "one" }).setIssuer(issuerName)
    .setAudience("relay").setExpirationTime("10m").sign(key.privateKey);
}

async function kubectlFor(
  server: string,
  caPath: string,
  token: string,
  folder: string,
  name: string,
) {
  const path = `${folder}/${name}.kubeconfig`;
  const config = {
    ...{ apiVersion: "v1", kind: "Config", "current-context": "plain" },
    // Without TLS, kubectl sends no token.
    clusters: [{ name: "tunnel", cluster: { server, "certificate-authority": caPath } }],
    users: [{ name, user: { token } }],
    contexts: [{ name: "plain", context: { cluster: "tunnel", user: name } }],
  };
  await Deno.writeTextFile(path, JSON.stringify(config));
  return new KubeClient(path, `${folder}/${name}`);
}

clusterTest(
  "a person has the name and the rights that the cluster's entry maps, and no others",
  async () => {
    await using stack = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir({ prefix: "culvert-e2e-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const tls = await loopbackFiles(folder);
    const pair = await generateKeyPair("ES256", { extractable: true });
    await Deno.writeTextFile(`${folder}/private.pem`, await exportPKCS8(pair.privateKey));
    await Deno.writeTextFile(`${folder}/public.pem`, await exportSPKI(pair.publicKey));
    const key = await makeKey("one");
    const issuer = stack.use(new Issuer([key]));
    const rules = [{ claim: "sub", value: "*", clusters: ["*"] }];
    const relay = stack.use(
      await startRelay({
        clusters: [{
          ...{ id: "e2e", token: agentToken, targetAddr: "api" },
          impersonate: { prefix: "corp:", groups: { platform: [group, "viewers"] } },
        }],
        args: [
          ...["-tls-cert", tls.certPath, "-tls-key", tls.keyPath],
          ...["-assertion-keys", `${folder}/private.pem`],
          ...["-caller-jwt-issuer", issuerName, "-caller-jwt-audience", "relay"],
          ...["-caller-jwks-url", issuer.url, "-caller-jwt-rules", JSON.stringify(rules)],
        ],
      }),
    );
    const target = {
      ...{ name: "api", address: fromEnvironment("KUBE_API") },
      tls: { ca: fromEnvironment("KUBE_CA") },
      credential: { file: fromEnvironment("KUBE_SA_TOKEN") },
      impersonate: {
        ...{ proof: "assertion", issuer: "culvert", audience: ["/tunnel/e2e"] },
        ...{ keysFile: `${folder}/public.pem`, prefix: "corp:", groups: [group, "viewers"] },
      },
    };
    await Deno.writeTextFile(`${folder}/targets.json`, JSON.stringify({ targets: [target] }));
    const agent = stack.use(Program.start("agent.ts", [
      ...["-server", `wss://${relay.publicAddress}/connect`, "-server-ca-cert", tls.caPath],
      ...["-token", agentToken],
      ...["-targets", `${folder}/targets.json`, "-health-addr", "127.0.0.1:0"],
      ...["--log-format", "json"],
    ]));
    await agent.waitForLog(({ message }) => message === "Connected to relay");
    await relay.waitForAgent("e2e");
    const direct = new KubeClient(fromEnvironment("KUBECONFIG"), `${folder}/direct`);
    await direct.output(rights);
    stack.defer(async () => void await direct.output(["delete", "clusterrole", group]));
    await direct.output(binding);
    stack.defer(async () => void await direct.output(["delete", "clusterrolebinding", group]));
    const server = `https://${relay.internalAddress}/tunnel/e2e`;
    const ann = await kubectlFor(
      server,
      tls.caPath,
      await bearerOf(key, "ann", ["platform"]),
      folder,
      "ann",
    );
    const bob = await kubectlFor(
      server,
      tls.caPath,
      await bearerOf(key, "bob", ["guests"]),
      folder,
      "bob",
    );

    const whoami = JSON.parse(await ann.output(["auth", "whoami", "-o", "json"])).status.userInfo;
    equal(whoami.username, "corp:ann");
    ok(whoami.groups.includes(group) && whoami.groups.includes("system:authenticated"));
    ok(!whoami.groups.includes("system:masters"));
    equal(whoami.extra["culvert.dev/session"][0], "session-of-ann");

    match(await ann.output(["get", "pods", "-n", "default"]), /box/);
    const deleted = await ann.kubectl(["delete", "pod", "box", "-n", "default"]);
    ok(deleted.code !== 0);
    match(deleted.stderr, /User "corp:ann" cannot delete resource "pods"/);
    const bobs = await bob.kubectl(["get", "pods", "-n", "default"]);
    ok(bobs.code !== 0);
    match(bobs.stderr, /User "corp:bob" cannot list resource "pods"/);

    const narrowed = ["--as", "ann", "--as-group", "viewers"];
    const fewer = await ann.kubectl(["get", "pods", "-n", "default", ...narrowed]);
    ok(fewer.code !== 0, "with fewer groups, fewer rights");
    const beyond = await ann.kubectl([
      "get",
      "pods",
      "--as",
      "ann",
      "--as-group",
      "system:masters",
    ]);
    ok(beyond.code !== 0);
    match(beyond.stderr, /cannot impersonate resource "groups"/);
    match(await ann.output(["logs", "box", "-n", "default", "--tail=1"]), /tick/);
  },
);
