/** The sidecar example: an app on a pod's loopback, published by the agent beside it. */
import { equal, match } from "node:assert/strict";
import { get as getOverTls } from "node:https";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { clusterTest } from "../e2e/environment.ts";
import { Authority } from "../support/certificates.ts";
import { eventually, within } from "../support/deadline.ts";
import { imageRepository, imageTag } from "./build_images.ts";
import { Installation, ports } from "./installation.ts";

const token = "sidecar-token-0123456789abcdef";
/** The hostname that the example claims. */
const hostname = "hello.example.com";
/** Of the relay's web listener. */
const webPort = 28444;
/** Pods share the host's network here, where 8080 and 8081 may be somebody else's. */
const appPort = 28090;

/** As much of a Deployment as is changed for the tests' cluster. */
interface Deployment {
  readonly spec: {
    readonly template: {
      readonly spec: {
        hostNetwork?: boolean;
        terminationGracePeriodSeconds: number;
        readonly containers: {
          readonly name: string;
          image: string;
          imagePullPolicy?: string;
          command?: string[];
          env?: { name: string; value?: string }[];
          ports?: { containerPort: number }[];
        }[];
      };
    };
  };
}

/** The example with the tests' images, addresses and ports, and nothing else changed. */
async function adaptedExample(installation: Installation): Promise<Deployment> {
  const path = fileURLToPath(new URL("../../deploy/sidecar/deployment.yaml", import.meta.url));
  const convert = [
    "-n",
    installation.namespace,
    "create",
    "--dry-run=client",
    "-o",
    "json",
    "-f",
    path,
  ];
  const example: Deployment = JSON.parse(await installation.direct.output(convert));
  const pod = example.spec.template.spec;
  pod.hostNetwork = true;
  const [app, tunnel] = pod.containers;
  if (app?.name !== "hello" || tunnel?.name !== "tunnel") throw new Error("Other containers");
  app.image = "docker.io/local/busybox:1";
  app.imagePullPolicy = "Never";
  const serve = `/bin/busybox httpd -f -p 127.0.0.1:${appPort} -h /etc`;
  app.command = ["/bin/sh", "-c", `trap "exit 0" TERM; ${serve} & wait`];
  tunnel.image = `${imageRepository("agent")}:${imageTag}`;
  tunnel.imagePullPolicy = "Never";
  tunnel.ports = tunnel.ports!.map((port) => ({ ...port, containerPort: ports.agentHealth }));
  const adapted: Record<string, string> = {
    SERVER_URL: installation.serverUrl,
    TARGET: `127.0.0.1:${appPort}`,
  };
  const unknown = Object.keys(adapted).filter((name) =>
    !tunnel.env!.some((variable) => variable.name === name)
  );
  equal(unknown.join(), "");
  tunnel.env = [
    ...tunnel.env!.map((variable) =>
      variable.name in adapted ? { ...variable, value: adapted[variable.name]! } : variable
    ),
    { name: "ALLOW_INSECURE_SERVER", value: "true" },
    { name: "HEALTH_ADDR", value: `:${ports.agentHealth}` },
  ];
  return example;
}

/** What the web listener answers at the claimed hostname, which its certificate has to have. */
async function askWeb(path: string, ca: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const address = { host: "127.0.0.1", port: webPort, path };
  const headers = { Host: hostname };
  getOverTls({ ...address, servername: hostname, ca, headers, agent: false }, (answer) => {
    text(answer).then(resolve, reject);
  }).on("error", reject);
  return await within(promise, `an answer at ${hostname}`);
}

clusterTest(
  "the sidecar example publishes an app that listens on loopback alone, at the hostname it claims",
  async () => {
    await using installation = await Installation.create({ isMutual: false });
    const { direct, namespace, folder } = installation;
    const targetAddr = `127.0.0.1:${appPort}`;
    const claim = { hostnames: [hostname], policy: "public" };
    const authority = await Authority.create(folder, "web");
    const { certPath, keyPath } = await authority.issue("hello", `DNS:${hostname}`);
    const pair = [`--cert=${certPath}`, `--key=${keyPath}`];
    await direct.output(["-n", namespace, "create", "secret", "tls", "web-tls", ...pair]);
    const web = { enabled: true, port: webPort, certSecrets: ["web-tls"] };
    await installation.installRelay([{ id: "hello", token, targetAddr, ...claim }], { web });
    const secret = ["create", "secret", "generic", "hello-tunnel", `--from-literal=token=${token}`];
    await direct.output(["-n", namespace, ...secret]);
    const stdin = JSON.stringify(await adaptedExample(installation));
    await direct.output(["-n", namespace, "apply", "-f", "-"], { stdin });
    const rollout = ["rollout", "status", "deployment/hello", "--timeout=120s"];
    await direct.output(["-n", namespace, ...rollout], { timeoutMs: 130_000 });

    const url = `http://127.0.0.1:${ports.internal}/tunnel/hello/passwd`;
    match(await (await fetch(url)).text(), /^root:x:0:0:/);
    const ca = await Deno.readTextFile(authority.caPath);
    match(await askWeb("/passwd", ca), /^root:x:0:0:/);

    await direct.output(["-n", namespace, "delete", "deployment", "hello", "--wait"]);
    await eventually(
      async () => {
        const response = await within(fetch(url), "an answer");
        await response.text();
        return response.status === 502;
      },
      "the relay to notice that the agent is gone",
      60_000,
    );
  },
);
