/** kubectl for people: they sign in at an OpenID provider, and the API server sees them. */
import { equal, match, ok } from "node:assert/strict";
import { exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { clientId, clientSecret } from "../signin/fake_provider.ts";
import { RealOidcProvider } from "../signin/oidc_provider.ts";
import { signInFor } from "../signin/program_browser.ts";
import { SocketBrowser } from "../signin/programs.ts";
import { Authority } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { Program, runProgram, startRelay } from "../support/programs.ts";
import { clusterTest, fromEnvironment } from "./environment.ts";
import { KubeClient } from "./kube_client.ts";
import { scratchName } from "./scratch.ts";
import { assertTransport, logsRequests, transports } from "./transport.ts";

const agentToken = "e2e-people-token-0123456789";
const root = new URL("../../", import.meta.url).pathname;
const group = `culvert-people-${crypto.randomUUID().slice(0, 8)}`;
const rules = [
  { apiGroups: [""], resources: ["pods", "pods/log"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["pods/exec", "pods/portforward"], verbs: ["get", "create"] },
];

clusterTest("people sign in for kubectl, and the API server sees who they are", async (t) => {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-e2e-people-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const authority = await Authority.create(folder, "people");
  const names = "DNS:localhost,DNS:login.localhost,IP:127.0.0.1";
  const { certPath, keyPath } = await authority.issue("web", names);
  await Deno.mkdir(`${folder}/certs`);
  await Deno.copyFile(certPath, `${folder}/certs/web.crt`);
  await Deno.copyFile(keyPath, `${folder}/certs/web.key`);
  const pair = await generateKeyPair("ES256", { extractable: true });
  await Deno.writeTextFile(`${folder}/private.pem`, await exportPKCS8(pair.privateKey));
  await Deno.writeTextFile(`${folder}/public.pem`, await exportSPKI(pair.publicKey));

  const port = freePort();
  const login = `https://login.localhost:${port}`;
  const kube = `https://localhost:${port}`;
  const provider = stack.use(
    await RealOidcProvider.start(
      `${login}/.culvert/callback`,
      `${login}/.culvert/signed-out`,
      { groups: ["platform", "secret"] },
    ),
  );
  const impersonate = { prefix: "corp:", groups: { platform: [group] } };
  const services = {
    login: { host: `login.localhost:${port}` },
    providers: [{
      ...{ name: "corp", kind: "oidc", issuer: provider.issuer, clientId, clientSecret },
      scopes: ["openid", "email", "offline_access"],
    }],
    policies: [{ name: "staff", any: [{ claim: "groups", value: "platform" }] }],
    services: [{
      ...{ name: "kube", hostnames: [`localhost:${port}`], cluster: "e2e", target: "api" },
      ...{ policy: "staff", host: "target", identity: { impersonate } },
    }],
  };
  await Deno.writeTextFile(`${folder}/services.json`, JSON.stringify(services));
  const relay = stack.use(
    await startRelay({
      clusters: [{
        ...{ id: "e2e", token: agentToken, targetAddr: "api", callerPolicy: "staff", impersonate },
      }],
      args: [
        ...["-tls-cert", certPath, "-tls-key", keyPath],
        ...["-web-addr", `127.0.0.1:${port}`, "-web-certs", `${folder}/certs`],
        ...["-services", `${folder}/services.json`],
        ...["-assertion-keys", `${folder}/private.pem`],
        // Nobody has one: whoever calls signs in.
        ...["-caller-tokens", "[]"],
      ],
    }),
  );
  const target = {
    ...{ name: "api", address: fromEnvironment("KUBE_API") },
    tls: { ca: fromEnvironment("KUBE_CA") },
    credential: { file: fromEnvironment("KUBE_SA_TOKEN") },
    impersonate: {
      ...{ proof: "assertion", issuer: "login.localhost" },
      ...{ audience: ["localhost", "/tunnel/e2e"], keysFile: `${folder}/public.pem` },
      ...{ prefix: "corp:", groups: [group] },
    },
  };
  await Deno.writeTextFile(`${folder}/targets.json`, JSON.stringify({ targets: [target] }));
  const agent = stack.use(Program.start("agent.ts", [
    ...["-server", `wss://${relay.publicAddress}/connect`, "-server-ca-cert", authority.caPath],
    ...["-token", agentToken, "-targets", `${folder}/targets.json`],
    ...["-health-addr", "127.0.0.1:0", "--log-format", "json"],
  ]));
  await agent.waitForLog(({ message }) => message === "Connected to relay");
  await relay.waitForAgent("e2e");

  const direct = new KubeClient(fromEnvironment("KUBECONFIG"), `${folder}/direct`);
  await direct.output(["apply", "-f", "-"], {
    stdin: JSON.stringify({
      ...{ apiVersion: "v1", kind: "List" },
      items: [{
        ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", rules },
        metadata: { name: group },
      }, {
        ...{ apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding" },
        metadata: { name: group },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: group },
        subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: group }],
      }],
    }),
  });
  stack.defer(async () => {
    await direct.output(["delete", "clusterrole,clusterrolebinding", group]);
  });

  // What `access` is on a workstation, and a browser that writes down what it is to open.
  const program = `${folder}/access`;
  const deno = `${Deno.execPath()} run --config ${root}deno.json -A ${root}access.ts`;
  await Deno.writeTextFile(program, `#!/bin/sh\nexec ${deno} "$@"\n`, { mode: 0o755 });
  const browser = `${folder}/browser`;
  const opened = `${folder}/opened`;
  await Deno.writeTextFile(browser, `#!/bin/sh\necho "$1" >> ${opened}\n`, { mode: 0o755 });
  await Deno.writeTextFile(opened, "");
  const env = { XDG_CONFIG_HOME: `${folder}/config`, BROWSER: browser };
  const windows = async () => (await Deno.readTextFile(opened)).split("\n").filter((it) => it);
  const person = new SocketBrowser(await Deno.readTextFile(authority.caPath));
  /** Signs in at the next window that is opened. */
  const signIn = async (before: number) => {
    await eventually(async () => (await windows()).length > before, "the browser", 60_000);
    const page = await signInFor(person, (await windows())[before]!);
    match(page.text, /You are signed in as ann@example\.com/);
  };
  const kubeconfig = async (args: readonly string[], name: string): Promise<KubeClient> => {
    const loginArgs = ["--login-ca", authority.caPath, "--login-command", program];
    const tls = ["--ca", authority.caPath];
    const { code, stdout, stderr } = await runProgram("relay.ts", [
      ...["kubeconfig", "e2e", ...args, ...tls, ...loginArgs],
    ]);
    equal(code, 0, stderr);
    match(stdout, /interactiveMode: "?IfAvailable/);
    await Deno.writeTextFile(`${folder}/${name}.kubeconfig`, stdout);
    return new KubeClient(`${folder}/${name}.kubeconfig`, `${folder}/${name}`);
  };
  const kubectl = await kubeconfig(["--service", kube, "--login", kube], "service");

  await t.step(
    "kubectl opens a browser, and the API server sees the person's name and groups",
    async () => {
      const asked = kubectl.output(["auth", "whoami", "-o", "json"], { env });
      await signIn(0);
      const { username, groups, extra } = JSON.parse(await asked).status.userInfo;
      equal(username, "corp:ann@example.com");
      ok(groups.includes(group) && groups.includes("system:authenticated"));
      ok(!groups.includes("system:masters") && !groups.includes("secret"));
      equal(extra["culvert.dev/session"].length, 1);
    },
  );

  await t.step("many kubectl at once need no further sign-in", async () => {
    const args = ["get", "pod", "box", "-n", "default", "-o", "name"];
    const outputs = await Promise.all(
      Array.from({ length: 8 }, () => kubectl.output(args, { env })),
    );
    for (const output of outputs) equal(output, "pod/box\n");
    equal((await windows()).length, 1);
  });

  await t.step("the person has the rights of the mapped groups, and no others", async () => {
    const deleted = await kubectl.kubectl(["delete", "pod", "box", "-n", "default"], { env });
    ok(deleted.code !== 0);
    match(deleted.stderr, /User "corp:ann@example.com" cannot delete resource "pods"/);
    const as = ["get", "pods", "--as", "ann@example.com", "--as-group", "system:masters"];
    const beyond = await kubectl.kubectl(as, { env });
    match(beyond.stderr, /cannot impersonate resource "groups"/);
  });

  for (const transport of transports) {
    const both = { env: { ...env, ...transport.env } };
    await t.step(`exec and cp as the person, over ${transport.name}`, async () => {
      const shell = ["exec", logsRequests, "-i", "box", "-n", "default", "--", "cat"];
      const result = await kubectl.kubectl(shell, { ...both, stdin: "from stdin\n" });
      equal(result.stdout, "from stdin\n", result.stderr);
      assertTransport(transport, "exec", result.stderr);
      const name = scratchName();
      await Deno.writeTextFile(`${folder}/${name}`, name);
      await kubectl.output(["cp", `${folder}/${name}`, `default/box:/tmp/${name}`], both);
      const read = ["exec", "box", "-n", "default", "--", "/bin/busybox", "cat", `/tmp/${name}`];
      equal(await kubectl.output(read, both), name);
      await direct.output(["exec", "box", "--", "/bin/busybox", "rm", "-f", `/tmp/${name}`]);
    });

    await t.step(`port-forward as the person, over ${transport.name}`, async () => {
      await using forward = kubectl.start(
        ["port-forward", "-n", "default", "pod/box", ":8765"],
        both.env,
      );
      const line = await forward.waitForLine((text) => text.startsWith("Forwarding from 127."));
      const address = /127\.0\.0\.1:\d+/.exec(line.text)![0];
      const answer = await within(fetch(`http://${address}/hosts`), "the pod's answer");
      ok(answer.ok);
      await answer.body?.cancel();
    });
  }

  await t.step(
    "logs -f and a watch go on, and end within moments when the person signs out",
    async () => {
      await using logs = kubectl.start(["logs", "-f", "box", "-n", "default", "--tail=1"], env);
      await logs.waitForLine((text) => text.startsWith("tick "));
      await using watch = kubectl.start(["get", "pods", "-n", "default", "-w", "-o", "name"], env);
      await watch.waitForLine((text) => text === "pod/box");
      const shell = ["exec", "-i", "box", "-n", "default", "--", "sh", "-c", "echo up; sleep 600"];
      await using exec = kubectl.start(shell, env);
      await exec.waitForLine((text) => text === "up");
      const args = ["logout", kube, "--ca", authority.caPath];
      const { code, stderr } = await runProgram("access.ts", args, env);
      equal(code, 0, stderr);
      equal(await exec.ended() === 0, false);
      await logs.ended();
      await watch.kill();
    },
  );

  await t.step("under /tunnel/ as well, with a token for the cluster alone", async () => {
    const before = (await windows()).length;
    const server = `https://${relay.internalAddress}`;
    const inside = await kubeconfig(["--server", server, "--login", login], "tunnel");
    const asked = inside.output(["get", "pod", "box", "-n", "default", "-o", "name"], { env });
    await signIn(before);
    equal(await asked, "pod/box\n");
  });
});
