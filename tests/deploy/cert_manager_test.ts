/**
 * The certificates of `deploy/cert-manager`, issued and renewed by a real cert-manager while requests
 * run: its controllers on the real API server, both charts, and the script that copies an agent's
 * certificate to its cluster.
 */
import { deepEqual, equal, notEqual } from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { run } from "../e2e/command.ts";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { scratchFolder, sha256 } from "../e2e/scratch.ts";
import { eventually } from "../support/deadline.ts";
import { borrowNamespace } from "./borrowed.ts";
import { imageRepository, imageTag } from "./build_images.ts";
import { learnForeignKinds } from "./foreign_kinds.ts";
import { chartFolder, type ChartName } from "./helm.ts";
import { CLUSTER, ports } from "./installation.ts";
import { Load } from "./load.ts";
import { must } from "./tools.ts";

/** For Go to fetch and compile cert-manager, on a machine that never did. */
const buildTimeoutMs = 900_000;
/** For cert-manager to issue, and for a Secret's change to reach a program. */
const propagationMs = 150_000;
const pods = ["--wait", "--timeout", "180s"];
const patience = { timeoutMs: 200_000 };

const token = "a-token-0123456789abcdef";
/** The name by which agents and callers reach the relay here, in place of `relay.example.com`. */
const relayName = "localhost";

const manifests = fileURLToPath(new URL("../../deploy/cert-manager/", import.meta.url));

/** Builds cert-manager's controllers and runs them until the end. */
async function runCertManager(stack: AsyncDisposableStack, folder: string): Promise<void> {
  const source = fileURLToPath(new URL("cert_manager/", import.meta.url));
  const program = `${folder}/cert_manager`;
  await must("go", ["build", "-C", source, "-trimpath", "-o", program, "."], {
    env: { CGO_ENABLED: "0" },
    timeoutMs: buildTimeoutMs,
  });
  const process = new Deno.Command("sh", {
    args: ["-c", `exec "$0" "$@" > ${folder}/cert_manager.log 2>&1`, program].concat(
      ["--kubeconfig", fromEnvironment("KUBECONFIG")],
    ),
    stdin: "null",
  }).spawn();
  stack.defer(async () => {
    process.kill("SIGTERM");
    await process.status;
  });
}

/** A file of `deploy/cert-manager` with the names of this test in place of the examples. */
async function manifest(name: string): Promise<string> {
  const text = await Deno.readTextFile(`${manifests}${name}`);
  return text.replaceAll("relay.example.com", relayName);
}

/** What a Secret holds under a key. */
async function secretText(
  client: KubeClient,
  [namespace, name]: readonly [string, string],
  key: string,
): Promise<string> {
  const path = `jsonpath={.data.${key.replace(".", "\\.")}}`;
  return atob(await client.output(["-n", namespace, "get", "secret", name, "-o", path]));
}

/** The serial number of a certificate in PEM. */
function serial(pem: string): string {
  return new X509Certificate(pem).serialNumber;
}

/** The serial number of the certificate that a listener of the relay shows. */
async function shownSerial(port: number, ca: string, cert: string, key: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect(
    { host: "127.0.0.1", port, servername: relayName, ca, cert, key },
    () => resolve(socket.getPeerCertificate().serialNumber),
  );
  socket.once("error", reject);
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

/** Charts in the namespace of the manifests. */
async function install(
  client: KubeClient,
  folder: string,
  chart: ChartName,
  values: Record<string, unknown>,
): Promise<void> {
  const image = { repository: imageRepository(chart), tag: imageTag, pullPolicy: "Never" };
  const file = `${folder}/${chart}.yaml`;
  await Deno.writeTextFile(file, JSON.stringify({ image, hostNetwork: true, ...values }));
  const release = `culvert-${chart}`;
  const where = ["--namespace", "culvert", "--values", file, ...pods];
  try {
    await client.helm(["upgrade", "--install", release, chartFolder(chart), ...where], patience);
  } catch (error) {
    const logs = await client.kubectl(["-n", "culvert", "logs", `deployment/${release}`]);
    const state = await client.kubectl(["-n", "culvert", "describe", "pods"]);
    const said = [logs.stdout, logs.stderr, state.stdout].map((text) => text.slice(-3_000));
    throw new Error(`${String(error)}\n${said.join("\n")}`, { cause: error });
  }
}

/** When the agent's client certificate ends, in seconds since 1970, as its metrics say. */
async function agentCertificateEnd(): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${ports.agentHealth}/metrics`)).text();
  const line = /^culvert_certificate_not_after_timestamp_seconds\{name="client-cert"\} (\S+)$/m;
  return Number(line.exec(metrics)?.[1]);
}

clusterTest("a real cert-manager issues and renews all certificates under load", async (t) => {
  await using stack = new AsyncDisposableStack();
  const folder = await scratchFolder(stack);
  const client = new KubeClient(fromEnvironment("KUBECONFIG"), folder);
  const step = async (name: string, body: () => Promise<void>) => {
    equal(await t.step(name, body), true, `"${name}" failed, and the rest builds on it`);
  };
  await learnForeignKinds(stack, client);
  for (const name of ["culvert", "argocd", "cert-manager"]) {
    await borrowNamespace(stack, client, name);
  }
  await runCertManager(stack, folder);

  await step("the manifests are issued", async () => {
    for (const name of ["issuer.yaml", "relay.yaml", "agent.yaml", "argocd.yaml"]) {
      await client.output(["apply", "-f", "-"], { stdin: await manifest(name) });
    }
    stack.defer(async () => {
      await client.output(["delete", "clusterissuer", "culvert", "culvert-self-signed"]);
    });
    for (const namespace of ["culvert", "argocd", "cert-manager"]) {
      const wait = ["-n", namespace, "wait", "--for=condition=Ready", "certificate", "--all"];
      await client.output([...wait, `--timeout=${propagationMs / 1000}s`], {
        timeoutMs: propagationMs + 10_000,
      });
    }
  });

  const copyToCustomer = async () => {
    // Both contexts lead to the same cluster here.
    const env = { KUBECONFIG: fromEnvironment("KUBECONFIG") };
    const script = `${manifests}copy-to-customer.sh`;
    const { code, stderr } = await run(script, ["c", "c", CLUSTER], { env });
    equal(code, 0, stderr);
  };

  await step("both charts take them, as the documentation says", async () => {
    await copyToCustomer();
    stack.defer(async () => {
      for (const chart of ["agent", "relay"]) {
        await client.helm(["uninstall", `culvert-${chart}`, "-n", "culvert", ...pods], patience);
      }
    });
    await install(client, folder, "relay", {
      port: ports.public,
      internalPort: ports.internal,
      healthPort: ports.relayHealth,
      tls: { enabled: true, certSecret: "culvert-relay-tls", clientCASecret: "culvert-relay-tls" },
      callers: {
        hosts: [relayName],
        certificates: [{ name: "argocd", clusters: [CLUSTER] }],
      },
      clusters: [{
        id: CLUSTER,
        tokens: [{ name: "first", tokenSha256: sha256(new TextEncoder().encode(token)) }],
        targetAddr: fromEnvironment("KUBE_API"),
        certificateName: CLUSTER,
      }],
      grace: "10s",
    });
    const create = ["-n", "culvert", "create", "secret", "generic", "agent-token"];
    await client.output([...create, `--from-literal=token=${token}`]);
    await install(client, folder, "agent", {
      serverURL: `wss://${relayName}:${ports.public}/connect`,
      tls: { serverCASecret: "culvert-agent-tls", clientCertSecret: "culvert-agent-tls" },
      existingSecret: "agent-token",
      targetAddr: fromEnvironment("KUBE_API"),
      healthPort: ports.agentHealth,
      maxRetryInterval: "500ms",
      grace: "10s",
    });
  });

  await step("renewed ones are taken without a restart, and no request is lost", async () => {
    const argocd = ["argocd", "culvert-argocd-tls"] as const;
    const [ca, cert, key] = await Promise.all(
      ["ca.crt", "tls.crt", "tls.key"].map((name) => secretText(client, argocd, name)),
    );
    using http = Deno.createHttpClient({ caCerts: [ca!], cert: cert!, key: key! });
    const load = Load.start({
      url: `https://${relayName}:${ports.internal}/tunnel/${CLUSTER}/api/v1/namespaces/default`,
      client: http,
      expects: /"kind":\s*"Namespace"/,
      workers: 3,
    });
    const shown = () => shownSerial(ports.internal, ca!, cert!, key!);
    try {
      await eventually(() => load.answered > 10, "requests to be on their way");
      const restarts = () =>
        client.output([
          ...["-n", "culvert", "get", "pods", "-o"],
          "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount};{end}",
        ]);
      const before = { pods: await restarts(), serial: await shown() };
      const agentEnd = await agentCertificateEnd();
      // cert-manager's shortest duration, of which it leaves twenty seconds: it renews by its own clock.
      const spec = { duration: "1h", renewBefore: "59m40s" };
      for (const name of ["culvert-relay", "culvert-agent-customer-a"]) {
        const patch = ["--type=merge", "-p", JSON.stringify({ spec })];
        await client.output(["-n", "culvert", "patch", "certificate", name, ...patch]);
      }
      const seen = new Set([before.serial]);
      await eventually(
        async () => {
          await copyToCustomer();
          const stamp = `culvert-test/refreshed=${Date.now()}`;
          await client.output(["-n", "culvert", "annotate", "pods", "--all", "--overwrite", stamp]);
          seen.add(await shown());
          return seen.size > 2 && await agentCertificateEnd() !== agentEnd;
        },
        () => `two renewals to be shown by the relay; ${seen.size - 1} were`,
        propagationMs,
      );
      const secret = ["culvert", "culvert-relay-tls"] as const;
      notEqual(serial(await secretText(client, secret, "tls.crt")), before.serial);
      const answered = load.answered;
      await eventually(() => load.answered > answered + 10, "requests to go on");
      equal(await restarts(), before.pods);
    } finally {
      await load.stop();
    }
    const { notTaken, lost, answered } = await load.stop();
    console.log(`    ${answered} answered`);
    deepEqual({ notTaken, lost }, { notTaken: [], lost: [] });
  });
});
