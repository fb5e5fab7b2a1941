/** The relay's side of the operator as a program, with a real API server, a real relay and agents. */
import { doesNotMatch, equal, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import type { KubeClient } from "../../../lib/kube/client.ts";
import type { Condition, KubeObject } from "../../../lib/kube/objects.ts";
import { namespaces, type Resource, secrets } from "../../../lib/kube/resources.ts";
import { clusters, registrationTokens } from "../../../lib/operator/api/crds.ts";
import { argocdApplications } from "../../../lib/operator/management/argocd.ts";
import { secretText } from "../../../lib/operator/secret_text.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import { addressOf, Program, startAgent } from "../../support/programs.ts";
import { OperatorWorld, patienceMs } from "./cluster.ts";
import { kubeTest } from "./own_kube.ts";

const hub = "culvert";
const agentToken = "agent-token-of-edge-0123456789abcdef";
const applications = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "applications.argoproj.io" },
  spec: {
    group: "argoproj.io",
    scope: "Namespaced",
    names: { plural: "applications", singular: "application", kind: "Application" },
    versions: [{
      name: "v1alpha1",
      served: true,
      storage: true,
      schema: {
        openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      },
    }],
  },
};

/** A relay that has the operator's Secrets mounted: this copies them as a kubelet would. */
class MountedRelay implements AsyncDisposable {
  readonly #client: KubeClient;
  readonly #folder: string;
  readonly adminUrl: string;
  readonly #adminPort = freePort();
  #program: Program | undefined;
  #mounting: Promise<void> | undefined;
  #isOver = false;

  constructor(client: KubeClient, folder: string) {
    this.#client = client;
    this.#folder = folder;
    this.adminUrl = `http://127.0.0.1:${this.#adminPort}`;
  }

  /** Starts it as soon as there are tokens for its admin API. */
  async start(): Promise<void> {
    await Deno.mkdir(`${this.#folder}/clusters`);
    await Deno.writeTextFile(`${this.#folder}/clusters/_values.json`, "[]");
    await eventually(
      async () => await this.#mount("culvert-relay-admin-tokens", this.#folder),
      "the admin tokens",
      patienceMs,
    );
    this.#program = Program.start("relay.ts", [
      ...["--addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0", "--log-format", "json"],
      ...["--clusters", `${this.#folder}/clusters`, "--callers", "open", "--health-addr", ""],
      ...["--admin-addr", `127.0.0.1:${this.#adminPort}`, "--state", `${this.#folder}/state`],
      ...["--admin-tokens", `${this.#folder}/tokens.json`],
    ]);
    await this.addressOf("admin");
    this.#mounting = this.#mountAll();
  }

  async addressOf(listener: string): Promise<string> {
    return await addressOf(this.#program!, listener);
  }

  /** Puts a cluster; what the admin API answers. */
  async register(id: string, token: string): Promise<number> {
    const response = await fetch(`${this.adminUrl}/admin/v1/clusters/${id}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({
        tokenSha256: sha256(`${agentToken}-${id}`),
        targetAddr: "127.0.0.1:1",
        owner: "edge",
        leaseSeconds: 3_600,
      }),
    });
    await response.body?.cancel();
    return response.status;
  }

  async #mountAll(): Promise<void> {
    while (!this.#isOver) {
      await this.#mount("culvert-relay-admin-tokens", this.#folder);
      await this.#mount("culvert-relay-clusters", `${this.#folder}/clusters`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  async #mount(name: string, folder: string): Promise<boolean> {
    const secret = await this.#client.find(secrets, { namespace: hub, name });
    if (!secret) return false;
    for (const key of Object.keys(secret["data"] as object)) {
      const [path, text] = [`${folder}/${key}`, secretText(secret, key)!];
      if (await Deno.readTextFile(path).catch(() => undefined) === text) continue;
      await Deno.writeTextFile(`${path}.new`, text);
      await Deno.rename(`${path}.new`, path);
    }
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#mounting;
    await this.#program?.stop();
  }
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

kubeTest("an edge cluster registers, is accepted, connects and is in Argo CD", async (kube) => {
  await using world = await OperatorWorld.start(kube);
  const { client } = world;
  await client.create(namespaces, { metadata: { name: "argocd" } });
  await world.apply(JSON.stringify(applications));
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-hub-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const relay = stack.use(new MountedRelay(client, folder));
  await world.startOperator(["--set", "controllers={clusters}"], [
    ...["--controllers", "clusters", "--watch-namespaces", hub, "--relay-poll", "200ms"],
    ...["--relay-admin-url", relay.adminUrl, "--argocd-server", "https://relay.test:8080"],
  ]);
  await relay.start();
  const put = async (resource: Resource, name: string, spec: unknown): Promise<KubeObject> =>
    await client.apply(resource, { metadata: { name, namespace: hub }, spec });
  const becomes = async (resource: Resource, name: string, type: string, reason: string) => {
    let last: Condition | undefined;
    await eventually(
      async () => {
        const object = await client.find(resource, { namespace: hub, name });
        const { conditions = [] } = (object?.["status"] ?? {}) as { conditions?: Condition[] };
        last = conditions.find((condition) => condition.type === type);
        return last?.reason === reason;
      },
      () => `${type} of ${name} to be ${reason}; it is ${JSON.stringify(last)}`,
      patienceMs,
    );
  };
  const argocdSecret = (id: string) =>
    client.find(secrets, { namespace: "argocd", name: `culvert-cluster-${id}` });
  const token = { idPrefixes: ["edge-"], maxClusters: 1, autoAccept: false };
  await put(registrationTokens, "edge", { ...token, argocd: { labels: { env: "edge" } } });
  await becomes(registrationTokens, "edge", "Ready", "Ready");
  const made = await client.get(secrets, { namespace: hub, name: "edge-registration" });
  const secret = secretText(made, "token")!;

  // The relay has to read the new file first.
  await eventually(
    async () => await relay.register("edge-1", secret) === 202,
    "the relay to know the token",
    patienceMs,
  );
  equal(await relay.register("other-1", secret), 403);
  equal(await relay.register("edge-2", secret), 429);
  await becomes(registrationTokens, "edge", "Usable", "UsedUp");
  await becomes(clusters, "edge-1", "Ready", "PendingAcceptance");
  equal(await argocdSecret("edge-1"), undefined);
  await client.merge(clusters, { namespace: hub, name: "edge-1" }, { spec: { accepted: true } });
  await becomes(clusters, "edge-1", "Programmed", "Registered");
  const relayUrl = `ws://${await relay.addressOf("public")}/connect`;
  await using _agent = await startAgent({
    relayUrl,
    token: `${agentToken}-edge-1`,
    target: "127.0.0.1:1",
  });
  await becomes(clusters, "edge-1", "Ready", "Ready");
  equal((await argocdSecret("edge-1"))?.metadata.labels?.["env"], "edge");

  await put(clusters, "by-hand", {
    tokens: [{ name: "first", sha256: sha256(`${agentToken}-by-hand`) }],
    targets: ["127.0.0.1:1"],
    argocd: { enabled: true },
  });
  await using _other = await startAgent({
    relayUrl,
    token: `${agentToken}-by-hand`,
    target: "127.0.0.1:1",
  });
  await becomes(clusters, "by-hand", "Ready", "Ready");
  await client.apply(argocdApplications, {
    metadata: { name: "app", namespace: "argocd" },
    spec: { destination: { name: "by-hand" } },
  });
  const byHand = await client.get(clusters, { namespace: hub, name: "by-hand" });
  const isGone = async (name: string) =>
    await client.find(clusters, { namespace: hub, name }) === undefined;
  await client.delete(clusters, byHand.metadata, byHand.metadata.uid!);
  await becomes(clusters, "by-hand", "ArgoCDReady", "InUse");
  ok(await argocdSecret("by-hand"));
  const app = await client.get(argocdApplications, { namespace: "argocd", name: "app" });
  await client.delete(argocdApplications, app.metadata, app.metadata.uid!);
  await eventually(() => isGone("by-hand"), "the Cluster to go", patienceMs);
  equal(await argocdSecret("by-hand"), undefined);

  await client.merge(registrationTokens, { namespace: hub, name: "edge" }, {
    spec: { expires: "2026-01-01T00:00:00Z", maxClusters: 5 },
  });
  await becomes(registrationTokens, "edge", "Ready", "Expired");
  await eventually(
    async () => await relay.register("edge-3", secret) === 403,
    "the relay to know that the token has expired",
    patienceMs,
  );
  doesNotMatch(
    await world.metrics(),
    /kube_requests_total.*code="403"/,
    "the chart's rights are enough",
  );
});

kubeTest(
  "the API server refuses Clusters and RegistrationTokens that can't be right",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const digest = sha256("x");
    const tokens = [{ name: "a", sha256: digest }];
    const refusals: readonly [kind: string, spec: unknown, message: RegExp][] = [
      ["Cluster", {}, /tokens is required/],
      ["Cluster", { tokens: [{ name: "a", sha256: "short" }] }, /sha256/],
      ["Cluster", { tokens, registrationToken: "edge" }, /leave tokens out/],
      ["Cluster", { tokens, hosts: ["a.example.com"] }, /hosts and policy go together/],
      [
        "Cluster",
        { tokens, argocd: { labels: { "culvert.dev/owner": "me" } } },
        /are the operator's/,
      ],
      ["RegistrationToken", { idPrefixes: [] }, /idPrefixes/],
      ["RegistrationToken", { idPrefixes: ["a"], leaseDuration: "5s" }, /from 10s to 720h/],
      ["RegistrationToken", { idPrefixes: ["a"], expires: "soon" }, /expires/],
    ];
    for (const [kind, spec, message] of refusals) {
      const metadata = { name: "test", namespace: hub };
      const said = await world.tryApply({
        apiVersion: "culvert.dev/v1alpha1",
        kind,
        metadata,
        spec,
      });
      ok(message.test(said), `${JSON.stringify(spec)}: ${said}`);
    }
    const metadata = { name: "test", namespace: hub };
    const right = {
      apiVersion: "culvert.dev/v1alpha1",
      kind: "Cluster",
      metadata,
      spec: { tokens },
    };
    equal(await world.tryApply(right), "");
  },
);
