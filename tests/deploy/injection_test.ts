/** Sidecars on the real cluster: an app on its pod's loopback at a hostname, and a Job that ends. */
import { equal, match, notEqual } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { scratchFolder, scratchName } from "../e2e/scratch.ts";
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { addressOf, startRelay } from "../support/programs.ts";
import { imageRepository, imageTag } from "./build_images.ts";

const adminToken = "admin-token-of-operators-0123456789";
const hostname = "hello.example.com";
const patience = { timeoutMs: 240_000 };
const wait = "--timeout=200s";
const busybox = "docker.io/local/busybox:1";

/** As much of a pod as is looked at. */
interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: {
    readonly initContainers?: readonly { readonly name: string; readonly restartPolicy?: string }[];
  };
  readonly status: {
    readonly conditions: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly ready: boolean }[];
  };
}

/** The cluster with the operator's charts, and a namespace for apps. */
class Cluster {
  readonly client: KubeClient;
  readonly namespace = `culvert-${scratchName()}`;
  readonly apps = `apps-${scratchName()}`;
  readonly #stack: AsyncDisposableStack;

  constructor(client: KubeClient, stack: AsyncDisposableStack) {
    this.client = client;
    this.#stack = stack;
  }

  kubectl(...args: string[]): Promise<string> {
    return this.client.output(["-n", this.apps, ...args], patience);
  }

  async apply(object: Record<string, unknown>): Promise<void> {
    await this.client.output(["-n", this.apps, "apply", "-f", "-"], {
      stdin: JSON.stringify(object),
    });
  }

  async pods(selector: string): Promise<readonly Pod[]> {
    const text = await this.kubectl("get", "pods", "-l", selector, "-o", "json");
    return (JSON.parse(text) as { items: Pod[] }).items;
  }

  async createNamespaces(): Promise<void> {
    for (const name of [this.namespace, this.apps]) {
      await this.client.output(["create", "namespace", name]);
      this.#stack.defer(async () => {
        await this.client.output(["delete", "namespace", name, "--ignore-not-found"], patience);
      });
    }
  }

  async install(chart: string, values: Record<string, string>): Promise<void> {
    const folder = fileURLToPath(new URL(`../../deploy/helm/${chart}`, import.meta.url));
    const set = Object.entries(values).flatMap(([key, value]) => [
      key.startsWith("extraEnv") ? "--set-string" : "--set",
      `${key}=${value}`,
    ]);
    const where = ["--namespace", this.namespace, "--wait", "--timeout", "200s"];
    await this.client.helm(["upgrade", "--install", chart, folder, ...where, ...set], patience);
    this.#stack.defer(async () => {
      const where = ["--namespace", this.namespace, "--ignore-not-found", "--wait"];
      await this.client.helm(["uninstall", chart, ...where], patience);
    });
  }

  async scaleOperator(replicas: number): Promise<void> {
    const deployment = ["-n", this.namespace, "deployment/culvert-operator"];
    await this.client.output(["scale", ...deployment, `--replicas=${replicas}`], patience);
    await this.client.output(["rollout", "status", ...deployment, wait], patience);
    await eventually(
      async () => {
        const pods = ["get", "pods", "-n", this.namespace, "-o", "name"];
        const names = (await this.client.output(pods)).trim();
        return names === "" ? replicas === 0 : names.split("\n").length === replicas;
      },
      `${replicas} pods of the operator`,
      120_000,
    );
  }
}

/** What is the same in all pods: they share the host's network here. */
function podOf(
  annotations: Record<string, string>,
  spec: Record<string, unknown>,
): Record<string, unknown> {
  return {
    metadata: { labels: { app: "hello", "culvert.dev/inject": "main" }, annotations },
    spec: { hostNetwork: true, terminationGracePeriodSeconds: 5, ...spec },
  };
}

clusterTest(
  "labelled pods get an agent: a Deployment at a hostname, and a Job that ends",
  async () => {
    await using stack = new AsyncDisposableStack();
    const folder = await scratchFolder(stack);
    const cluster = new Cluster(new KubeClient(fromEnvironment("KUBECONFIG"), folder), stack);
    const tokens = [{ name: "ops", token: adminToken, clusters: ["*"], hostnames: ["*"] }];
    const relay = stack.use(
      await startRelay({
        clusters: [],
        args: [
          ...["--admin-addr", "127.0.0.1:0", "--web-addr", "127.0.0.1:0"],
          ...["--admin-tokens", JSON.stringify(tokens), "--state", `${folder}/state`],
        ],
      }),
    );
    const [admin, web] = [await addressOf(relay, "admin"), await addressOf(relay, "web")];
    const [webhookPort, appPort] = [freePort(), freePort()];
    const [appHealth, jobHealth] = [freePort(), freePort()];

    await cluster.createNamespaces();
    await cluster.install("culvert-crds", { keep: "false" });
    await cluster.install("culvert-operator", {
      "image.repository": imageRepository("operator"),
      "image.tag": imageTag,
      "image.pullPolicy": "Never",
      agentImage: `${imageRepository("agent")}:${imageTag}`,
      hostNetwork: "true",
      healthPort: String(freePort()),
      watchNamespaces: `{${cluster.apps}}`,
      "injection.mode": "webhook",
      "injection.port": String(webhookPort),
      // Nothing leads to Services' addresses here.
      "injection.url": `https://127.0.0.1:${webhookPort}/mutate-pods`,
      "extraEnv[0].name": "KUBERNETES_SERVICE_HOST",
      "extraEnv[0].value": fromEnvironment("KUBE_API").split(":")[0]!,
      "extraEnv[1].name": "KUBERNETES_SERVICE_PORT_HTTPS",
      "extraEnv[1].value": fromEnvironment("KUBE_API").split(":")[1]!,
    });
    const literal = `--from-literal=token=${adminToken}`;
    await cluster.kubectl("create", "secret", "generic", "relay-api", literal);
    await cluster.apply({
      apiVersion: "culvert.dev/v1alpha1",
      kind: "Tunnel",
      metadata: { name: "main" },
      spec: {
        relay: {
          url: relay.connectUrl,
          allowInsecure: true,
          registration: { api: { endpoint: `http://${admin}`, tokenRef: { name: "relay-api" } } },
        },
        defaultPolicy: "public",
        agent: { replicas: 0, imagePullPolicy: "Never" },
        sidecar: { hostnames: [hostname], healthPort: appHealth },
      },
    });

    // While the operator can still take its entry off the relay.
    stack.defer(async () => {
      await cluster.kubectl("delete", "tunnel", "main", "--ignore-not-found", wait);
    });

    const serve = `/bin/busybox httpd -f -p 127.0.0.1:${appPort} -h /etc`;
    const app = {
      ...{ name: "app", image: busybox, imagePullPolicy: "Never" },
      command: ["/bin/sh", "-c", `trap "exit 0" TERM; ${serve} & wait`],
    };
    const annotations = { "culvert.dev/port": String(appPort), "culvert.dev/hostname": hostname };
    await cluster.apply({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "hello" },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: "hello" } },
        // Two pods can't have the same port of the host.
        strategy: { type: "Recreate" },
        template: podOf(annotations, { containers: [app] }),
      },
    });
    await cluster.kubectl("rollout", "status", "deployment/hello", wait);

    const ask = async (): Promise<[number, string]> => {
      using http = Deno.createHttpClient({ allowHost: true });
      const headers = { host: hostname };
      try {
        const response = await fetch(`http://${web}/passwd`, { headers, client: http });
        return [response.status, await response.text()];
      } catch (error) {
        return [0, String(error)];
      }
    };
    const [status, text] = await ask();
    equal(status, 200, text);
    match(text, /^root:x:0:0:/);
    const [first] = await cluster.pods("app=hello");
    const sidecars = first!.spec.initContainers!.map((it) => [it.name, it.restartPolicy]);
    equal(String(sidecars), "culvert-agent,Always");

    await cluster.apply({
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "import" },
      spec: {
        template: podOf({ "culvert.dev/health-port": String(jobHealth) }, {
          restartPolicy: "Never",
          containers: [{ ...app, command: ["/bin/sh", "-c", "echo imported"] }],
        }),
      },
    });
    await cluster.kubectl("wait", "job/import", "--for=condition=complete", wait);
    const [job] = await cluster.pods("job-name=import");
    equal(job!.spec.initContainers?.[0]?.name, "culvert-agent");
    await cluster.kubectl("delete", "job", "import", wait);

    await cluster.scaleOperator(0);
    await cluster.kubectl("rollout", "restart", "deployment/hello");
    await eventually(
      async () => {
        const events = await cluster.kubectl("get", "events", "-o", "jsonpath={.items[*].message}");
        return events.includes("failed calling webhook");
      },
      "the ReplicaSet to be refused",
      60_000,
    );
    await cluster.kubectl(
      "run",
      "other",
      `--image=${busybox}`,
      "--image-pull-policy=Never",
      "--",
      "sleep",
      "600",
    );
    match(await cluster.kubectl("get", "pod", "other", "-o", "name"), /pod\/other/);
    equal(
      (await cluster.pods("app=hello,pod-template-hash")).some(({ metadata }) =>
        metadata.uid !== first!.metadata.uid
      ),
      false,
    );
    await cluster.scaleOperator(1);
    await cluster.kubectl("rollout", "status", "deployment/hello", wait);
    const [second] = await cluster.pods("app=hello");
    notEqual(second!.metadata.uid, first!.metadata.uid);
    await eventually(async () => (await ask())[0] === 200, "the app at its hostname again", 60_000);

    // The relay ends the session of an agent whose entry has gone.
    await cluster.kubectl("delete", "tunnel", "main", wait);
    const isReady = async () => {
      const [pod] = await cluster.pods("app=hello");
      return pod!.status.conditions.some(({ type, status }) =>
        type === "Ready" && status === "True"
      );
    };
    await eventually(
      async () => !await isReady(),
      "the pod not to be ready without a session",
      120_000,
    );
    const [last] = await cluster.pods("app=hello");
    equal(last!.status.containerStatuses?.[0]?.ready, true, "the app goes on");
  },
);
