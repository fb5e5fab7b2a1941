/**
 * Both charts from install to uninstall on the real cluster, with mutual TLS and without: kubectl
 * through the tunnel, tokens and certificates rotated, both upgraded, with requests running.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect } from "node:tls";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { eventually } from "../support/deadline.ts";
import { Program } from "../support/programs.ts";
import { CLUSTER, Installation, ports, RELAY } from "./installation.ts";
import { assertNoHandshake, Load, type LoadReport } from "./load.ts";

/** For a Secret's change to reach the programs, if only by the node's own round. */
const propagationMs = 150_000;

/** The agent's Secret. */
const tokenSecret = "agent-token";
const firstToken = "first-token-0123456789abcdef";
const secondToken = "second-token-0123456789abcdef";

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** The relay's clusters with the tokens of these names and texts. */
function clusters(tokens: Record<string, string>, isMutual: boolean) {
  return [{
    id: CLUSTER,
    tokens: Object.entries(tokens).map(([name, token]) => ({ name, tokenSha256: sha256(token) })),
    targetAddr: fromEnvironment("KUBE_API"),
    ...isMutual && { certificateName: CLUSTER },
  }];
}

/** Runs `change` with requests on their way the whole time. */
async function underLoad(
  installation: Installation,
  change: () => Promise<void>,
): Promise<LoadReport> {
  using client = await installation.httpClient();
  const load = Load.start({
    url: `${installation.tunnelUrl}/api/v1/namespaces/default`,
    client,
    expects: /"kind":\s*"Namespace"/,
    workers: 3,
  });
  await eventually(() => load.answered > 10, "requests to be on their way");
  try {
    await change();
    const before = load.answered;
    await eventually(() => load.answered > before + 10, "requests to go on", 60_000);
  } finally {
    await load.stop();
  }
  const report = await load.stop();
  console.log(`    ${report.answered} answered, ${report.notTaken.length} not taken at first`);
  return report;
}

/** How the relay's configuration went so far: reloads by their outcome. */
async function reloads(): Promise<string> {
  const metrics = await (await fetch(`http://127.0.0.1:${ports.relayHealth}/metrics`)).text();
  return metrics.split("\n").filter((line) => /^culvert_config_reloads_total\{/.test(line)).join();
}

/** The serial number of the certificate that the relay's public listener shows. */
async function shownSerial(installation: Installation): Promise<string> {
  const pem = (name: string) => Deno.readTextFileSync(installation.certificate(name));
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({
    host: "127.0.0.1",
    port: ports.public,
    ca: pem("ca.crt"),
    cert: pem("argocd.crt"),
    key: pem("argocd.key"),
  }, () => resolve(socket.getPeerCertificate().serialNumber));
  socket.once("error", reject);
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

async function lifeOf(installation: Installation, t: Deno.TestContext): Promise<void> {
  const { direct, caller, namespace, isMutual } = installation;
  const step = async (name: string, body: () => Promise<void>) => {
    ok(await t.step(name, body), `"${name}" failed, and the rest builds on it`);
  };

  await step("the charts install, and their pods become ready", async () => {
    await installation.installRelay(clusters({ first: firstToken }, isMutual));
    await installation.tokenSecret(tokenSecret, firstToken);
    await installation.installAgent(tokenSecret);
  });

  await step("helm test of both passes", async () => {
    for (const chart of ["relay", "agent"]) {
      const where = ["--namespace", namespace, "--timeout", "60s"];
      match(await direct.helm(["test", `culvert-${chart}`, ...where]), /Phase:\s+Succeeded/);
    }
  });

  await step("kubectl works through the tunnel, as the agent's ServiceAccount", async () => {
    const whoami = await caller.output([
      "auth",
      "whoami",
      "-o",
      "jsonpath={.status.userInfo.username}",
    ]);
    equal(whoami, `system:serviceaccount:${namespace}:culvert-agent`);
    match(await caller.output(["get", "namespaces", "-o", "name"]), /^namespace\/kube-system$/m);
    equal(await caller.output(["exec", "box", "-n", "default", "--", "echo", "hello"]), "hello\n");
    match(await caller.output(["logs", "box", "-n", "default", "--tail=1"]), /^tick \d+$/m);
  });

  await step("callers ask for the relay by its names, and by no other", async () => {
    using client = await installation.httpClient();
    const statusFor = async (host: string) => {
      const response = await fetch(`${installation.tunnelUrl}/version`, {
        client,
        headers: { host },
      });
      await response.text();
      return response.status;
    };
    for (const host of [RELAY, `culvert-relay-internal.${namespace}.svc:8080`]) {
      equal(await statusFor(host), 200, host);
    }
    equal(await statusFor("other.test"), 421);
  });

  if (isMutual) {
    await step("who shows no certificate is not let in", async () => {
      using client = Deno.createHttpClient({
        caCerts: [await Deno.readTextFile(installation.certificate("ca.crt"))],
      });
      await assertNoHandshake(`${installation.tunnelUrl}/version`, client);
    });

    await step("an agent's certificate does not make a caller", async () => {
      using client = await installation.httpClient(`agent-${CLUSTER}`);
      const response = await fetch(`${installation.tunnelUrl}/version`, { client });
      equal(`${response.status} ${(await response.json()).error.code}`, "401 caller_unknown");
    });
  }

  await step("an upgrade that changes nothing restarts nothing", async () => {
    const before = [
      await installation.pods("culvert-relay"),
      await installation.pods("culvert-agent"),
    ];
    await installation.installRelay(clusters({ first: firstToken }, isMutual));
    await installation.installAgent(tokenSecret);
    deepEqual(
      [await installation.pods("culvert-relay"), await installation.pods("culvert-agent")],
      before,
    );
  });

  await step("a token is rotated: no restart, no request lost", async () => {
    const pods = async () => [
      await installation.pods("culvert-relay"),
      await installation.pods("culvert-agent"),
    ];
    const before = await pods();
    const report = await underLoad(installation, async () => {
      await takenBy(installation, async () => {
        await installation.installRelay(
          clusters({ first: firstToken, second: secondToken }, isMutual),
        );
      });
      await installation.tokenSecret(tokenSecret, secondToken);
      await installation.refreshVolumes();
      const logs = ["-n", namespace, "logs", "deployment/culvert-relay"];
      await eventually(
        async () => /"Agent connected".*"token_name":"second"/.test(await direct.output(logs)),
        "the agent to connect by the new token",
        propagationMs,
      );
      await takenBy(installation, async () => {
        await installation.installRelay(clusters({ second: secondToken }, isMutual));
      });
    });
    deepEqual({ notTaken: report.notTaken, lost: report.lost }, { notTaken: [], lost: [] });
    deepEqual(await pods(), before);
    await assertRefused(installation, firstToken);
  });

  if (isMutual) {
    await step("certificates are rotated: no restart, no request lost", async () => {
      const before = await shownSerial(installation);
      const pods = [
        await installation.pods("culvert-relay"),
        await installation.pods("culvert-agent"),
      ];
      const report = await underLoad(installation, async () => {
        await installation.renewCertificates();
        await installation.refreshVolumes();
        await eventually(
          async () => await shownSerial(installation) !== before,
          "the relay to show its new certificate",
          propagationMs,
        );
      });
      deepEqual({ notTaken: report.notTaken, lost: report.lost }, { notTaken: [], lost: [] });
      deepEqual([
        await installation.pods("culvert-relay"),
        await installation.pods("culvert-agent"),
      ], pods);
    });
  }

  await step("the agent is upgraded, and no request is lost", async () => {
    const before = await installation.pods("culvert-agent");
    const report = await underLoad(installation, async () => {
      await installation.upgradeAgent(tokenSecret, { logLevel: "debug" });
    });
    deepEqual({ notTaken: report.notTaken, lost: report.lost }, { notTaken: [], lost: [] });
    ok(await installation.pods("culvert-agent") !== before, "there is a new pod");
  });

  await step("the relay is upgraded: what it can't take meanwhile is refused whole", async () => {
    const before = await installation.pods("culvert-relay");
    const report = await underLoad(installation, async () => {
      await installation.installRelay(clusters({ second: secondToken }, isMutual), {
        logLevel: "debug",
      });
    });
    deepEqual(report.lost, []);
    ok(await installation.pods("culvert-relay") !== before, "there is a new pod");
  });

  await step("uninstalling leaves nothing behind", async () => {
    await installation.uninstall();
    const kinds = "deployments,replicasets,pods,services,endpointslices,secrets,configmaps," +
      "networkpolicies,poddisruptionbudgets,roles,rolebindings,clusterroles,clusterrolebindings," +
      "serviceaccounts";
    const labelled = ["-l", "app.kubernetes.io/part-of=culvert", "-o", "name"];
    await eventually(
      async () => await direct.output(["get", kinds, "--all-namespaces", ...labelled]) === "",
      "all objects of both charts to be gone",
      60_000,
    );
  });
}

/** Makes a change to the relay's files, and waits until the relay has taken it. */
async function takenBy(installation: Installation, change: () => Promise<void>): Promise<void> {
  const before = await reloads();
  await change();
  await installation.refreshVolumes();
  await eventually(
    async () => await reloads() !== before,
    () => `the relay to take a change; it had ${before}`,
    propagationMs,
  );
}

/** An agent with this token is turned away, with the right certificate even. */
async function assertRefused(installation: Installation, token: string): Promise<void> {
  const tls = installation.isMutual
    ? [
      ...["--server-ca-cert", installation.certificate("ca.crt")],
      ...["--client-cert", installation.certificate(`agent-${CLUSTER}.crt`)],
      ...["--client-key", installation.certificate(`agent-${CLUSTER}.key`)],
    ]
    : ["--allow-insecure-server"];
  await using agent = Program.start("agent.ts", [
    ...["--server", installation.serverUrl, ...tls, "--target", "127.0.0.1:9", "--plain-target"],
    ...["--sa-token-path", "", "--health-addr", "127.0.0.1:0", "--log-format", "json"],
  ], { TOKEN: token });
  await agent.waitForLog(({ message }) => message.startsWith("The relay refused this agent"), {
    what: "the relay's refusal",
  });
}

for (const isMutual of [true, false]) {
  const name = isMutual ? "with mutual TLS" : "without TLS";
  const title = `both charts ${name}: install, rotate, upgrade, uninstall`;
  clusterTest(title, async (t) => {
    await using installation = await Installation.create({ isMutual });
    try {
      await lifeOf(installation, t);
    } catch (error) {
      console.error(
        await installation.logs("culvert-relay"),
        await installation.logs("culvert-agent"),
      );
      throw error;
    }
  });
}
