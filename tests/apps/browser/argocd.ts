/**
 * Argo CD's API server on a real Kubernetes, in a namespace of its own. It is built from its Go module;
 * its user interface is no part of that, and the page here speaks to its API as that would.
 */
import { fileURLToPath } from "node:url";
import { run } from "../../e2e/command.ts";
import { fromEnvironment, missingVariables } from "../../e2e/environment.ts";
import { KubeClient } from "../../e2e/kube_client.ts";
import { scratchFolder, scratchName } from "../../e2e/scratch.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import { Redis } from "../../support/redis.ts";
import { App } from "./app.ts";

/** For Go to fetch and compile it, on a machine that never did. */
const buildTimeoutMs = 1_200_000;
/** For a definition with all its objects to be gone. */
const goneTimeoutMs = 120_000;

const source = fileURLToPath(new URL("argocd_server/", import.meta.url));
const page = fileURLToPath(new URL("argocd_page", import.meta.url));
const kinds = ["application", "applicationset", "appproject"];

/** Whether there is a cluster to run it on. */
export const hasCluster = missingVariables.length === 0;

/** A running API server. */
export interface Argocd extends AsyncDisposable {
  readonly address: string;
  /** Of the user `admin`. */
  readonly password: string;
}

/** Builds and starts it. All that it needs of the cluster goes with it. */
export async function startArgocd(): Promise<Argocd> {
  await using stack = new AsyncDisposableStack();
  const folder = await scratchFolder(stack);
  const program = `${folder}/argocd-server`;
  await must("go", ["build", "-C", source, "-trimpath", "-ldflags", "-s -w", "-o", program, "."]);
  const client = new KubeClient(fromEnvironment("KUBECONFIG"), folder);
  await defineKinds(stack, client);
  const namespace = `culvert-${scratchName()}`;
  await client.output(["create", "namespace", namespace]);
  stack.defer(async () => {
    await client.output(["delete", "namespace", namespace, "--wait=false"]);
  });
  await client.output(["-n", namespace, "apply", "-f", "-"], { stdin: JSON.stringify(settings) });
  const redis = stack.use(await Redis.start());
  const app = stack.use(await startServer({ program, folder, namespace, redis }));
  const secret = ["-n", namespace, "get", "secret", "argocd-initial-admin-secret"];
  const password = atob(await client.output([...secret, "-o", "jsonpath={.data.password}"]));
  const running = stack.move();
  return {
    address: app.address,
    password,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

interface ServerOptions {
  readonly program: string;
  readonly folder: string;
  readonly namespace: string;
  readonly redis: Redis;
}

async function startServer({ program, folder, namespace, redis }: ServerOptions): Promise<App> {
  const metricsPort = freePort();
  return await App.start({
    program,
    args: (port) => [
      ...["--insecure", "--address", "127.0.0.1", "--port", `${port}`],
      ...["--metrics-address", "127.0.0.1", "--metrics-port", `${metricsPort}`],
      ...["--redis", redis.address, "--repo-server", "127.0.0.1:1", "--repo-server-plaintext"],
      ...["--namespace", namespace, "--staticassets", page, "--loglevel", "warn"],
    ],
    env: {
      KUBECONFIG: fromEnvironment("KUBECONFIG"),
      ARGOCD_GPG_ENABLED: "false",
      ARGOCD_TLS_DATA_PATH: folder,
      ARGOCD_SSH_DATA_PATH: folder,
      HOME: folder,
    },
    readyPath: "/healthz",
  });
}

/** What it wants to find in its namespace. */
const settings = {
  apiVersion: "v1",
  kind: "List",
  items: [
    { apiVersion: "v1", kind: "ConfigMap", metadata: named("argocd-cm"), data: {} },
    { apiVersion: "v1", kind: "Secret", metadata: named("argocd-secret") },
    {
      apiVersion: "argoproj.io/v1alpha1",
      kind: "AppProject",
      metadata: { name: "default" },
      spec: { sourceRepos: ["*"], destinations: [{ namespace: "*", server: "*" }] },
    },
  ],
};

function named(name: string) {
  return { name, labels: { "app.kubernetes.io/part-of": "argocd" } };
}

/** Has the API server know Argo CD's kinds; those that it did not know go at the end. */
async function defineKinds(stack: AsyncDisposableStack, client: KubeClient): Promise<void> {
  const list = ["list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-cd/v3"];
  const folder = (await must("go", ["-C", source, ...list])).trim();
  for (const kind of kinds) {
    const definition = ["customresourcedefinition", `${kind}s.argoproj.io`];
    const found = await client.output(["get", ...definition, "--ignore-not-found", "-o", "name"]);
    if (found !== "") continue;
    stack.defer(async () => {
      const remove = ["delete", ...definition, "--ignore-not-found", "--wait"];
      await client.output(remove, { timeoutMs: goneTimeoutMs });
    });
    const file = `${folder}/manifests/crds/${kind}-crd.yaml`;
    await client.output(["apply", "--server-side", "--force-conflicts", "-f", file]);
  }
  await eventually(async () => {
    const { code } = await client.kubectl(["get", kinds.map((kind) => `${kind}s`).join(), "-A"]);
    return code === 0;
  }, "the API server to know Argo CD's kinds");
}

async function must(program: string, args: readonly string[]): Promise<string> {
  const env = { CGO_ENABLED: "0" };
  const { code, stdout, stderr } = await run(program, args, { env, timeoutMs: buildTimeoutMs });
  if (code === 0) return stdout;
  throw new Error(`"${program} ${args.join(" ")}" ended with code ${code}:\n${stdout}${stderr}`);
}
