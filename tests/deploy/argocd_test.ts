/**
 * A real Argo CD with the relay chart's cluster Secret, as it is: an Application syncs into the
 * cluster behind the tunnel, follows a commit, and heals a deletion.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { scratchFolder, scratchName } from "../e2e/scratch.ts";
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { Repository, startArgocd, syncTimeoutMs } from "./argocd.ts";
import { CLUSTER, Installation, ports } from "./installation.ts";
import { imageRepository, imageTag } from "./build_images.ts";

const patience = { timeoutMs: 240_000 };
/** Folder of the Application and the ApplicationSet that docs/install.md goes by. */
const examples = fileURLToPath(new URL("../../deploy/argocd/", import.meta.url));
const token = "argocd-test-token-0123456789abcdef";

function greeting(message: string) {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "greeting" }, data: { message } };
}

/** What the relay counted for the cluster so far. */
async function requestsThroughTunnel(): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${ports.relayHealth}/metrics`)).text();
  const counts = metrics.matchAll(
    new RegExp(`^proxy_requests_total\\{.*cluster="${CLUSTER}".*\\} (\\d+)$`, "gm"),
  );
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

async function syncs(installation: Installation): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const { direct } = installation;
  const name = scratchName();
  const repository = await Repository.create(stack);
  const repoURL = await repository.publish(greeting("first"));

  const example = parse(await Deno.readTextFile(`${examples}application.yaml`));
  const { destination } = example.spec;
  equal(destination.name, CLUSTER, "a cluster's Secret is found by the cluster's id");
  const application = {
    ...example,
    metadata: { ...example.metadata, name },
    spec: {
      ...example.spec,
      source: { repoURL, targetRevision: "main", path: "app" },
      destination: { ...destination, namespace: name },
    },
  };
  stack.defer(async () => {
    await direct.output(["delete", "namespace", name, "--ignore-not-found", "--wait=false"]);
  });
  stack.defer(async () => {
    await direct.output(["-n", "argocd", "delete", "application", name, "--ignore-not-found"]);
  });
  await direct.output(["apply", "-f", "-"], { stdin: JSON.stringify(application) });

  const state = async (): Promise<string> =>
    await direct.output(["-n", "argocd", "get", "application", name, "-o", "jsonpath={.status}"]);
  const holds = async (message: string, what: string): Promise<void> => {
    const get = ["-n", name, "get", "configmap", "greeting", "-o", "jsonpath={.data.message}"];
    let found = "";
    const isThere = async () => {
      const { code, stdout } = await direct.kubectl(get);
      found = code === 0 ? stdout : "";
      return found === message;
    };
    try {
      await eventually(isThere, what, syncTimeoutMs);
    } catch (error) {
      throw new Error(`${String(error)}; it has "${found}"\n${await state()}`, { cause: error });
    }
  };

  await holds("first", "the first commit to be synced");
  equal(await repository.publish(greeting("second")), repoURL);
  // As a webhook or the button does; by itself Argo CD believes what it knows of a branch for 3 min.
  const refresh = "argocd.argoproj.io/refresh=hard";
  await direct.output(["-n", "argocd", "annotate", "application", name, refresh]);
  await holds("second", "the second commit to be synced");
  await direct.output(["-n", name, "delete", "configmap", "greeting"]);
  await holds("second", "what was deleted to come back");
  await eventually(
    async () => {
      const { sync, health } = JSON.parse(await state());
      return sync.status === "Synced" && health.status === "Healthy";
    },
    "the Application to be in sync and healthy",
    syncTimeoutMs,
  );
}

async function installAndSync(isMutual: boolean): Promise<void> {
  await using installation = await Installation.create({ isMutual, hasArgocd: true });
  const tokenSha256 = createHash("sha256").update(token).digest("hex");
  const targetAddr = fromEnvironment("KUBE_API");
  await installation.installRelay([{ id: CLUSTER, tokenSha256, targetAddr }]);
  await installation.tokenSecret("agent-token", token);
  await installation.installAgent("agent-token");

  const secret = ["-n", "argocd", "get", "secrets", "-o", "name"];
  const label = ["-l", "argocd.argoproj.io/secret-type=cluster"];
  deepEqual(
    (await installation.direct.output([...secret, ...label])).trim().split("\n"),
    [`secret/culvert-relay-cluster-${CLUSTER}`],
  );
  const before = await requestsThroughTunnel();
  await syncs(installation);
  ok(await requestsThroughTunnel() > before, "Argo CD used the tunnel");
}

/** The operator beside the relay, from its charts, until the end. */
async function installOperator(
  stack: AsyncDisposableStack,
  { direct, namespace }: Installation,
): Promise<void> {
  const install = async (name: string, values: Record<string, string>) => {
    const folder = fileURLToPath(new URL(`../../deploy/helm/${name}`, import.meta.url));
    const set = Object.entries(values).flatMap(([key, value]) => [
      key.startsWith("extraEnv") ? "--set-string" : "--set",
      `${key}=${value}`,
    ]);
    const where = ["--namespace", namespace, "--wait", "--timeout", "200s"];
    await direct.helm(["upgrade", "--install", name, folder, ...where, ...set], patience);
    stack.defer(async () => {
      await direct.helm(["uninstall", name, "--namespace", namespace, "--wait"], patience);
    });
  };
  await install("culvert-crds", { keep: "false" });
  const [host = "", port = ""] = fromEnvironment("KUBE_API").split(":");
  await install("culvert-operator", {
    "image.repository": imageRepository("operator"),
    "image.tag": imageTag,
    "image.pullPolicy": "Never",
    controllers: "{clusters}",
    argocdServer: `http://127.0.0.1:${ports.internal}`,
    hostNetwork: "true",
    healthPort: String(freePort()),
    // Nothing leads to Services' addresses here.
    "extraEnv[0].name": "KUBERNETES_SERVICE_HOST",
    "extraEnv[0].value": host,
    "extraEnv[1].name": "KUBERNETES_SERVICE_PORT_HTTPS",
    "extraEnv[1].value": port,
  });
}

/** A Cluster lets the agent in, and gives Argo CD the Secret; both stay while they are used. */
async function clusterAndSync(): Promise<void> {
  await using installation = await Installation.create({ isMutual: false });
  await using stack = new AsyncDisposableStack();
  const { direct, namespace } = installation;
  await installOperator(stack, installation);
  await installation.installRelay([], { operator: { enabled: true } });
  const tokenSha256 = createHash("sha256").update(token).digest("hex");
  const cluster = {
    apiVersion: "culvert.dev/v1alpha1",
    kind: "Cluster",
    metadata: { name: CLUSTER, namespace },
    spec: {
      tokens: [{ name: "first", sha256: tokenSha256 }],
      targets: [fromEnvironment("KUBE_API")],
      argocd: { enabled: true },
    },
  };
  await direct.output(["apply", "-f", "-"], { stdin: JSON.stringify(cluster) });
  const kubectl = (...args: string[]) => direct.output(["-n", namespace, ...args], patience);
  // Its finalizer is the operator's to take off, which goes next.
  stack.defer(async () => {
    await kubectl("delete", "cluster", CLUSTER, "--ignore-not-found", "--timeout=60s");
  });
  await kubectl("wait", `cluster/${CLUSTER}`, "--for=condition=Ready", "--timeout=60s");
  await installation.tokenSecret("agent-token", token);
  await installation.installAgent("agent-token");
  const before = await requestsThroughTunnel();
  await syncs(installation);
  ok(await requestsThroughTunnel() > before, "Argo CD used the tunnel");
  await kubectl("delete", "cluster", CLUSTER, "--timeout=60s");
  const label = ["-l", "culvert.dev/owner", "-o", "name"];
  equal(await direct.output(["-n", "argocd", "get", "secrets", ...label]), "");
}

clusterTest(
  "Argo CD syncs through the tunnel, with the chart's Secret and the example",
  async (t) => {
    await using stack = new AsyncDisposableStack();
    const client = new KubeClient(fromEnvironment("KUBECONFIG"), await scratchFolder(stack));
    await startArgocd(stack, client);
    await t.step("it takes the examples as they are", async () => {
      const dryRun = ["--dry-run=server", "--validate=strict"];
      const { code, stderr } = await client.kubectl(["apply", ...dryRun, "-f", examples]);
      equal(code, 0, stderr);
      equal(stderr, "");
    });
    await t.step("without TLS", () => installAndSync(false));
    await t.step("with mutual TLS", () => installAndSync(true));
    await t.step("with a Cluster and the operator", clusterAndSync);
  },
);
