/** What a real Argo CD makes of a Tunnel's conditions, with the settings that docs/operator-monitoring.md gives it. */
import { equal, ok } from "node:assert/strict";
import { parse } from "yaml";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { scratchFolder, scratchName } from "../e2e/scratch.ts";
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { addressOf, Program, startRelay } from "../support/programs.ts";
import { addDirectCluster, Repository, startArgocd, syncTimeoutMs } from "./argocd.ts";
import { imageRepository, imageTag } from "./build_images.ts";
import { repositoryRoot } from "./tools.ts";

const adminToken = "admin-token-of-operators-0123456789";
const patience = { timeoutMs: 240_000 };

/** The settings of Argo CD in docs/operator-monitoring.md, and the command that adds them. */
async function documented(): Promise<
  { settings: { readonly data: Record<string, string> }; command: readonly string[] }
> {
  const page = await Deno.readTextFile(`${repositoryRoot}docs/operator-monitoring.md`);
  const [, yaml] = /<!-- generated:argocd-health -->\n\n```yaml\n([\s\S]*?)```/.exec(page) ?? [];
  const [, command] = /```sh\nkubectl (-n argocd patch configmap [\s\S]*?)```/.exec(page) ?? [];
  ok(yaml !== undefined && command !== undefined, "docs/operator-monitoring.md has both");
  return { settings: parse(yaml), command: command.replaceAll("\\\n", " ").trim().split(/\s+/) };
}

clusterTest("Argo CD tells a Tunnel's health by its conditions", async (t) => {
  await using stack = new AsyncDisposableStack();
  const folder = await scratchFolder(stack);
  const client = new KubeClient(fromEnvironment("KUBECONFIG"), folder);
  const kubectl = (...args: string[]) => client.output(args, patience);
  const name = scratchName();
  await startArgocd(stack, client);
  await addDirectCluster(stack, client, name);
  const crds = `${repositoryRoot}deploy/helm/culvert-crds`;
  const where = ["--namespace", "default", "--wait"];
  await client.helm([
    "upgrade",
    "--install",
    "culvert-crds",
    crds,
    ...where,
    "--set",
    "keep=false",
  ]);
  stack.defer(async () =>
    void await client.helm(["uninstall", "culvert-crds", ...where], patience)
  );
  const { settings, command } = await documented();
  const file = `${repositoryRoot}deploy/helm/culvert-operator/files/argocd-cm.yaml`;
  const args = command.map((it) => file.endsWith(it) ? file : it);
  ok(args.includes(file), "the command names the file");
  await kubectl(...args);
  const { data } = JSON.parse(
    await kubectl("-n", "argocd", "get", "configmap", "argocd-cm", "-o", "json"),
  );
  const key = "resource.customizations";
  equal(data[key], settings.data[key], "Argo CD has what the page shows");

  const relay = stack.use(
    await startRelay({
      clusters: [],
      args: [
        ...["--admin-addr", "127.0.0.1:0", "--state", `${folder}/state`, "--admin-tokens"],
        JSON.stringify([{ name: "ops", token: adminToken, clusters: ["*"], hostnames: ["*"] }]),
      ],
    }),
  );
  const endpoint = `http://${await addressOf(relay, "admin")}`;
  const agent = { replicas: 1, hostNetwork: true, healthPort: freePort() };
  const tunnel = (more: Record<string, unknown> = {}) => ({
    apiVersion: "culvert.dev/v1alpha1",
    kind: "Tunnel",
    metadata: { name: "main" },
    spec: {
      relay: {
        url: relay.connectUrl,
        allowInsecure: true,
        registration: { api: { endpoint, tokenRef: { name: "relay-api" } } },
      },
      agent: { ...agent, imagePullPolicy: "Never", ...more },
    },
  });
  let operator: Program | undefined;
  stack.defer(async () => void await operator?.stop());
  const startOperator = (): void => {
    operator = Program.start("operator.ts", [
      ...["--kubeconfig", fromEnvironment("KUBECONFIG"), "--namespace", name],
      ...["--watch-namespaces", name, "--health-addr", "127.0.0.1:0"],
      ...["--agent-image", `${imageRepository("agent")}:${imageTag}`],
    ]);
  };
  const repository = await Repository.create(stack);
  const repoURL = await repository.publish(tunnel());
  await kubectl("create", "namespace", name);
  stack.defer(async () => void await kubectl("delete", "namespace", name, "--wait=false"));
  stack.defer(async () =>
    void await kubectl("-n", name, "delete", "tunnel", "--all", "--timeout=60s")
  );
  stack.defer(async () => {
    await kubectl("-n", "argocd", "delete", "application", name, "--ignore-not-found");
  });
  await client.output(["apply", "-f", "-"], {
    stdin: JSON.stringify({
      apiVersion: "argoproj.io/v1alpha1",
      kind: "Application",
      metadata: { name, namespace: "argocd" },
      spec: {
        project: "default",
        source: { repoURL, targetRevision: "main", path: "app" },
        destination: { name, namespace: name },
        syncPolicy: { automated: {} },
      },
    }),
  });

  const becomes = async (health: string): Promise<void> => {
    let status = "";
    await eventually(
      async () => {
        status = await kubectl(
          ...["-n", "argocd", "get", "application", name, "-o", "jsonpath={.status}"],
        );
        const { sync, health: now } = JSON.parse(status || "{}");
        return sync?.status === "Synced" && now?.status === health;
      },
      () => `the Application to be ${health}; it is ${status}`,
      syncTimeoutMs,
    );
  };
  const refresh = async (): Promise<void> => {
    const note = "argocd.argoproj.io/refresh=hard";
    await kubectl("-n", "argocd", "annotate", "application", name, note);
  };

  const step = async (name: string, body: () => Promise<void>): Promise<void> => {
    ok(await t.step(name, body), `"${name}" failed, and the rest builds on it`);
  };
  await step("Progressing while no operator has seen it", () => becomes("Progressing"));
  await step("Degraded while Ready is False", async () => {
    startOperator();
    await becomes("Degraded");
  });
  await step("Healthy when it is Ready", async () => {
    const create = ["-n", name, "create", "secret", "generic", "relay-api"];
    await kubectl(...create, `--from-literal=token=${adminToken}`);
    await becomes("Healthy");
  });
  await step(
    "Progressing while a change waits for the operator, and Healthy after it",
    async () => {
      await operator!.stop();
      await repository.publish(tunnel({ podLabels: { changed: "true" } }));
      await refresh();
      await becomes("Progressing");
      startOperator();
      await becomes("Healthy");
    },
  );
});
