/** The operator's charts on the real cluster: agents in pods, and a Service at a hostname. */
import { equal, notEqual } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { scratchFolder, scratchName } from "../e2e/scratch.ts";
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { withName } from "../support/host_names.ts";
import { addressOf, startRelay } from "../support/programs.ts";
import { imageRepository, imageTag } from "./build_images.ts";

const adminToken = "admin-token-of-operators-0123456789";
const patience = { timeoutMs: 240_000 };
const wait = "--timeout=200s";

function chart(name: string): string {
  return fileURLToPath(new URL(`../../deploy/helm/${name}`, import.meta.url));
}

function image(program: "agent" | "operator"): string {
  return `${imageRepository(program)}:${imageTag}`;
}

clusterTest(
  "the operator's charts: from helm install to a Service at a hostname, and back",
  async () => {
    await using stack = new AsyncDisposableStack();
    const folder = await scratchFolder(stack);
    const client = new KubeClient(fromEnvironment("KUBECONFIG"), folder);
    const namespace = `culvert-${scratchName()}`;
    const kubectl = (...args: string[]) => client.output(["-n", namespace, ...args], patience);
    const apply = (object: unknown) =>
      client.output(["apply", "-f", "-"], { stdin: JSON.stringify(object) });
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
    const backend = stack.use(Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("from the Service"),
    ));
    stack.use(await withName(`web.${namespace}.svc`));

    await client.output(["create", "namespace", namespace]);
    stack.defer(async () => {
      await client.output(["delete", "namespace", namespace, "--ignore-not-found"], patience);
    });
    const install = async (name: string, values: Record<string, string>) => {
      const set = Object.entries(values).flatMap(([key, value]) => [
        key.startsWith("extraEnv") ? "--set-string" : "--set",
        `${key}=${value}`,
      ]);
      const where = ["--namespace", namespace, "--wait", "--timeout", "200s"];
      await client.helm(["upgrade", "--install", name, chart(name), ...where, ...set], patience);
      stack.defer(async () => {
        const where = ["--namespace", namespace, "--ignore-not-found", "--wait"];
        await client.helm(["uninstall", name, ...where], patience);
      });
    };
    await install("culvert-crds", { keep: "false" });
    await install("culvert-operator", {
      "image.repository": imageRepository("operator"),
      "image.tag": imageTag,
      "image.pullPolicy": "Never",
      agentImage: image("agent"),
      hostNetwork: "true",
      healthPort: String(freePort()),
      watchNamespaces: `{${namespace}}`,
      // Nothing leads to Services' addresses here.
      "extraEnv[0].name": "KUBERNETES_SERVICE_HOST",
      "extraEnv[0].value": fromEnvironment("KUBE_API").split(":")[0]!,
      "extraEnv[1].name": "KUBERNETES_SERVICE_PORT_HTTPS",
      "extraEnv[1].value": fromEnvironment("KUBE_API").split(":")[1]!,
    });

    await kubectl("create", "secret", "generic", "relay-api", `--from-literal=token=${adminToken}`);
    await apply({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web", namespace },
      spec: { ports: [{ name: "http", port: backend.addr.port }] },
    });
    await apply({
      apiVersion: "culvert.dev/v1alpha1",
      kind: "Tunnel",
      metadata: { name: "main", namespace },
      spec: {
        relay: {
          url: relay.connectUrl,
          allowInsecure: true,
          registration: { api: { endpoint: `http://${admin}`, tokenRef: { name: "relay-api" } } },
        },
        agent: { replicas: 1, hostNetwork: true, healthPort: freePort(), imagePullPolicy: "Never" },
      },
    });
    await kubectl("wait", "tunnel/main", "--for=condition=Ready", wait);
    const pods = () =>
      kubectl(
        "get",
        "pods",
        "-l",
        "culvert.dev/tunnel=main",
        "-o",
        "jsonpath={.items[*].metadata.uid}",
      );
    const uids = await pods();
    notEqual(uids, "");

    const ask = async (): Promise<[number, string]> => {
      using http = Deno.createHttpClient({ allowHost: true });
      const headers = { host: "web.example.com" };
      try {
        const response = await fetch(`http://${web}/`, { headers, client: http });
        return [response.status, await response.text()];
      } catch (error) {
        // The connections of a service that goes end.
        return [0, String(error)];
      }
    };
    await kubectl(
      ...["annotate", "service", "web", "culvert.dev/tunnel=main"],
      ...["culvert.dev/hostname=web.example.com", "culvert.dev/policy=public"],
    );
    await eventually(
      async () => await kubectl("get", "tunnelbindings", "-o", "name") !== "",
      "the binding",
      60_000,
    );
    await kubectl("wait", "tunnelbinding/service-web", "--for=condition=Ready", wait);
    const [status, text] = await ask();
    equal(status, 200);
    equal(text, "from the Service");
    await kubectl("annotate", "service", "web", "culvert.dev/tunnel-");
    await eventually(async () => (await ask())[0] === 421, "the hostname to be gone", 60_000);
    equal(await pods(), uids, "no pod was replaced for a route");

    await kubectl("delete", "tunnel", "main", wait);
    const headers = { authorization: `Bearer ${adminToken}` };
    const entry = await fetch(`http://${admin}/admin/v1/clusters/${namespace}-main`, { headers });
    await entry.body?.cancel();
    equal(entry.status, 404);
  },
);
