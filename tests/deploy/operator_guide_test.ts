/**
 * docs/operator.md word by word on the real cluster: from nothing to a Service at a hostname with its
 * DNS record, and back to nothing; and its end in other orders.
 */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { blocks } from "../docs/markdown.ts";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { scratchFolder } from "../e2e/scratch.ts";
import { Bind, zone } from "../operator/kube/bind.ts";
import { Authority } from "../support/certificates.ts";
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { withName } from "../support/host_names.ts";
import { addressOf, startRelay } from "../support/programs.ts";
import { entriesAt } from "../support/relay_entries.ts";
import { imageRepository, imageTag } from "./build_images.ts";
import { everythingIn } from "./everything.ts";
import { follow, readGuide, type Replacements } from "./guide.ts";

const page = "docs/operator.md";
const guide = "From helm install to a Service at a hostname";
const host = "web.a.example.com";
const adminToken = "admin-token-of-operators-0123456789";
const patience = { timeoutMs: 300_000 };
const patienceMs = 300_000;

/** What the guide takes for granted: a relay, a name server, and a Service in a namespace. */
class Site implements AsyncDisposable {
  readonly client: KubeClient;
  readonly bind: Bind;
  readonly adminUrl: string;
  readonly #folder: string;
  readonly #replacements: Replacements;
  readonly #stack: AsyncDisposableStack;

  private constructor(parts: {
    client: KubeClient;
    bind: Bind;
    adminUrl: string;
    folder: string;
    replacements: Replacements;
    stack: AsyncDisposableStack;
  }) {
    this.client = parts.client;
    this.bind = parts.bind;
    this.adminUrl = parts.adminUrl;
    this.#folder = parts.folder;
    this.#replacements = parts.replacements;
    this.#stack = parts.stack;
  }

  static async start(): Promise<Site> {
    await using stack = new AsyncDisposableStack();
    const folder = await scratchFolder(stack);
    const client = new KubeClient(fromEnvironment("KUBECONFIG"), folder);
    const bind = stack.use(await Bind.start());
    const certificates = await webCertificate(folder);
    const relay = stack.use(
      await startRelay({
        clusters: [],
        args: [
          ...["--admin-addr", "127.0.0.1:0", "--state", `${folder}/state`],
          ...["--web-addr", "127.0.0.1:0", "--web-certs", `${folder}/certificates`],
          ...["--admin-tokens", tokensOfGuide()],
        ],
      }),
    );
    const backend = stack.use(Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("from the Service"),
    ));
    stack.use(await withName("web.shop.svc"));
    await Deno.writeTextFile(`${folder}/admin.token`, `${adminToken}\n`);
    await Deno.writeTextFile(`${folder}/tsig.secret`, `${bind.secret}\n`);
    await Deno.writeTextFile(`${folder}/values.json`, JSON.stringify(valuesOfTest()));
    const adminUrl = `http://${await addressOf(relay, "admin")}`;
    const web = await addressOf(relay, "web");
    stack.defer(() => cleanUp(client));
    await client.output(["create", "namespace", "shop"]);
    // Otherwise they come a moment later.
    const made = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
    await client.output(["-n", "shop", "wait", "--for=create", ...made], patience);
    await client.output(["apply", "-f", "-"], {
      stdin: JSON.stringify({
        ...{ apiVersion: "v1", kind: "Service", metadata: { name: "web", namespace: "shop" } },
        spec: { ports: [{ port: backend.addr.port }] },
      }),
    });
    const replacements: Replacements = [
      ["deploy/helm/", fileURLToPath(new URL("../../deploy/helm/", import.meta.url))],
      ["--set idPrefix=customer-a", `--set idPrefix=customer-a --values ${folder}/values.json`],
      ["registry.example.com/culvert-operator", imageRepository("operator")],
      ["registry.example.com/culvert-agent:0.1.0", `${imageRepository("agent")}:${imageTag}`],
      // Neither the relay nor the name server has a name here, and the relay no certificate.
      [
        "url: wss://relay.example.com/connect",
        `url: ${relay.connectUrl}\n    allowInsecure: true`,
      ],
      ["https://relay.example.com:8444", adminUrl],
      ["  dns:\n", `  agent: ${JSON.stringify(agentOfTest())}\n  dns:\n`],
      ["ns1.example.com:53", bind.server],
      ["dig ", `dig @127.0.0.1 -p ${bind.port} `],
      ["curl ", `curl --cacert ${certificates} --connect-to ${host}:443:${web} `],
      // A busy machine takes longer.
      ["=120s", "=280s"],
      ["=60s", "=280s"],
    ];
    return new Site({ client, bind, adminUrl, folder, replacements, stack: stack.move() });
  }

  /** Follows the guide, whose images are built already. @returns what its last block printed */
  async install(more: Replacements = []): Promise<string> {
    const [_images, ...blocks] = readGuide(page, guide, [...more, ...this.#replacements]);
    let printed = "";
    for (const block of blocks) printed = await this.follow(block);
    return printed;
  }

  async follow(text: string): Promise<string> {
    const env = { KUBECONFIG: fromEnvironment("KUBECONFIG"), HOME: this.#folder };
    return await follow(text, this.#folder, env);
  }

  /** Cluster, relay and zone. */
  async everything(): Promise<readonly string[]> {
    const records = (await this.bind.transfer()).filter((line) => !line.includes(" SOA "));
    return [
      ...await everythingIn(this.client),
      ...await entriesAt(this.adminUrl, adminToken),
      ...records,
    ];
  }

  /** Waits until just these objects have come since, and none has gone. */
  async differs(before: readonly string[], wanted: readonly string[]): Promise<void> {
    let difference: readonly string[] = [];
    // Pods end after what they belong to.
    await eventually(
      async () => {
        const now = await this.everything();
        difference = [
          ...now.filter((it) => !before.includes(it)),
          ...before.filter((it) => !now.includes(it)).map((it) => `no ${it}`),
        ];
        return JSON.stringify(difference) === JSON.stringify(wanted);
      },
      () => `the difference to be ${wanted.join(", ")}; it is ${difference.join(", ")}`,
      patienceMs,
    );
  }

  /** Waits until the kinds are gone. */
  async kindsGo(): Promise<void> {
    const kinds = ["get", "crds", "-l", "app.kubernetes.io/part-of=culvert", "-o", "name"];
    const text = async () => await this.client.output(kinds);
    await eventually(async () => await text() === "", "the kinds to go", patienceMs);
  }

  /** Finalizers of our objects. */
  async finalizers(): Promise<string> {
    const format = "jsonpath={range .items[*]}{.metadata.finalizers}{end}";
    return await this.client.output(["get", "tunnels,tunnelbindings", "-A", "-o", format]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** What the guide has its reader create. */
const usersSecrets = ["Secret shop/relay-api", "Secret shop/tsig"];

/** A certificate for the hostname. @returns the path of its CA */
async function webCertificate(folder: string): Promise<string> {
  const authority = await Authority.create(folder, "web");
  const { certPath, keyPath } = await authority.issue("web", `DNS:${host}`);
  await Deno.mkdir(`${folder}/certificates`);
  await Deno.copyFile(certPath, `${folder}/certificates/web.crt`);
  await Deno.copyFile(keyPath, `${folder}/certificates/web.key`);
  return authority.caPath;
}

/** The admin tokens of the guide. */
function tokensOfGuide(): string {
  const [json] = blocks(page, guide).filter(({ info }) => info === "json");
  return json!.text.replace("…", adminToken);
}

/** Of the chart, where pods have no network, and nothing leads to Services' addresses. */
function valuesOfTest() {
  const [host, port] = fromEnvironment("KUBE_API").split(":");
  const webhookPort = freePort();
  return {
    injection: { port: webhookPort, url: `https://127.0.0.1:${webhookPort}/mutate-pods` },
    image: { tag: imageTag, pullPolicy: "Never" },
    hostNetwork: true,
    healthPort: freePort(),
    extraEnv: [
      { name: "KUBERNETES_SERVICE_HOST", value: host },
      { name: "KUBERNETES_SERVICE_PORT_HTTPS", value: port },
    ],
  };
}

function agentOfTest() {
  return { replicas: 1, hostNetwork: true, healthPort: freePort(), imagePullPolicy: "Never" };
}

/** What a test has left that failed. */
async function cleanUp(client: KubeClient): Promise<void> {
  for (const release of ["culvert-operator", "culvert-crds"]) {
    for (const namespace of ["culvert", "default"]) {
      const where = ["--namespace", namespace, "--ignore-not-found", "--no-hooks"];
      await client.helm(["uninstall", release, ...where], patience);
    }
  }
  const names = await client.output([
    "get",
    "tunnels,tunnelbindings,clustertunnels",
    "-A",
    "-o",
    "jsonpath={range .items[*]}{.kind}.culvert.dev/{.metadata.name} -n {.metadata.namespace};{end}",
  ])
    .catch(() => "");
  for (const name of names.split(";").filter((it) => it !== "")) {
    const patch = ["--type=merge", "--patch", '{"metadata":{"finalizers":[]}}'];
    await client.kubectl(["patch", ...name.split(" "), ...patch]);
  }
  await client.output(["delete", "crds", "-l", "app.kubernetes.io/part-of=culvert"], patience);
  for (const namespace of ["shop", "culvert"]) {
    await client.output(["delete", "namespace", namespace, "--ignore-not-found"], patience);
  }
  await client.kubectl([
    "-n",
    "default",
    "delete",
    "lease",
    "culvert-operator",
    "--ignore-not-found",
  ]);
}

clusterTest(
  "operator.md: the guide leads to a Service at a hostname, and back to nothing",
  async () => {
    await using site = await Site.start();
    const before = await site.everything();
    const printed = await site.install();
    equal(printed.trim().split("\n").slice(-2).join("\n"), "relay.example.com.\nfrom the Service");
    const there = await site.everything();
    ok(there.includes("clusters/customer-a-shop-main") && there.includes("Tunnel shop/main"));
    const chart = fileURLToPath(new URL("../../deploy/helm/", import.meta.url));
    for (const block of readGuide(page, "Uninstall", [["deploy/helm/", chart]])) {
      await site.follow(block);
    }
    await site.differs(before, usersSecrets);
  },
);

/** Kinds that go with their chart. */
const loose: Replacements = [[
  "deploy/helm/culvert-crds\n",
  "deploy/helm/culvert-crds --set keep=false\n",
]];

clusterTest(
  "the operator goes and leaves its objects; then the kinds go, and nothing hangs",
  async () => {
    await using site = await Site.start();
    await site.install(loose);
    const entries = await entriesAt(site.adminUrl, adminToken);
    const records = await site.bind.transfer();
    const agents = ["-n", "shop", "get", "pods", "-l", "culvert.dev/tunnel=main", "-o", "name"];
    const pods = await site.client.output(agents);
    await site.client.helm(["uninstall", "culvert-operator", "--namespace", "culvert"], patience);
    equal(await site.finalizers(), "");
    notEqual(pods, "");
    deepEqual(await site.client.output(agents), pods, "agents run on");
    deepEqual(await entriesAt(site.adminUrl, adminToken), entries);
    deepEqual(await site.bind.transfer(), records);
    await site.client.helm(["uninstall", "culvert-crds", "--wait"], patience);
    await site.kindsGo();
    await site.client.output(
      ["delete", "namespace", "shop", "culvert", "--timeout=280s"],
      patience,
    );
  },
);

clusterTest(
  "the kinds go first, with all that they have outside; then the operator goes",
  async () => {
    await using site = await Site.start();
    const before = await site.everything();
    const webhook: Replacements = [[
      "--set idPrefix",
      "--set injection.mode=webhook --set idPrefix",
    ]];
    await site.install([...loose, ...webhook]);
    match((await site.bind.transfer()).join("\n"), new RegExp(`web\\.${zone}\\. CNAME`));
    await site.client.helm(["uninstall", "culvert-crds", "--wait"], patience);
    await site.kindsGo();
    deepEqual(await entriesAt(site.adminUrl, adminToken), []);
    await site.client.helm(["uninstall", "culvert-operator", "--namespace", "culvert"], patience);
    await site.client.output(["delete", "namespace", "culvert", "--timeout=280s"], patience);
    await site.differs(before, usersSecrets);
  },
);
