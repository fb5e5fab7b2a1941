/** Tunnels on a real API server, with real agents: scale, edits by hand, a proxy, rights. */
import assert from "node:assert/strict";
import type { Condition } from "../../../lib/kube/objects.ts";
import {
  deployments,
  pods,
  type Resource,
  roleBindings,
  secrets,
} from "../../../lib/kube/resources.ts";
import { run } from "../../e2e/command.ts";
import {
  Authority,
  type KeyPairFiles,
  loopbackFiles,
  withFolder,
} from "../../support/certificates.ts";
import { ConnectProxy } from "../../support/connect_proxy.ts";
import { eventually } from "../../support/deadline.ts";
import { addressOf, startRelay } from "../../support/programs.ts";
import { adminArgs, namespace, OperatorWorld, patienceMs, tunnels } from "./cluster.ts";
import { kubeTest, type OwnKube } from "./own_kube.ts";

const autoscalers: Resource = {
  ...{ group: "autoscaling", version: "v2", kind: "HorizontalPodAutoscaler" },
  ...{ plural: "horizontalpodautoscalers", isNamespaced: true },
};
const main = { namespace, name: "main" };
const agent = { namespace, name: "main-agent" };

async function statusOf({ client }: OperatorWorld): Promise<Record<string, unknown>> {
  return (await client.get(tunnels, main))["status"] as Record<string, unknown>;
}

/** Waits until so many agents are connected, as the relay and the Tunnel's status have it. */
async function connected(world: OperatorWorld, count: number): Promise<void> {
  let seen = "";
  await eventually(
    async () => {
      const { replicas, connectedAgents } = await statusOf(world);
      const { items = [] } = JSON.parse((await world.admin("clusters/apps-main/sessions")).text);
      seen = JSON.stringify([replicas, connectedAgents, items.length]);
      return seen === JSON.stringify([count, count, count]);
    },
    () => `${count} agents; replicas, connectedAgents and sessions are ${seen}`,
    patienceMs,
  );
}

async function kubectl(kube: OwnKube, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run("kubectl", ["--kubeconfig", kube.kubeconfig, ...args]);
  assert.equal(code, 0, stderr);
  return stdout;
}

kubeTest("kubectl scale and a HorizontalPodAutoscaler change a Tunnel's agents", async (kube) => {
  await using world = await OperatorWorld.start(kube);
  await world.startOperator();
  world.startKubelet();
  await world.putTunnel();
  await world.condition(tunnels, "main", "Ready", "Ready");
  await connected(world, 1);
  await kubectl(kube, "-n", namespace, "scale", "tunnels.culvert.dev/main", "--replicas=3");
  await connected(world, 3);
  const { selector } = await statusOf(world);
  const { items } = await world.client.list(pods, { namespace, labelSelector: String(selector) });
  assert.equal(items.length, 3, "the selector is that of the agents' pods");

  kube.startControllers(["horizontal-pod-autoscaler-controller"]);
  await world.client.create(autoscalers, {
    metadata: { name: "main", namespace },
    spec: {
      scaleTargetRef: { apiVersion: "culvert.dev/v1alpha1", kind: "Tunnel", name: "main" },
      ...{ minReplicas: 4, maxReplicas: 5 },
    },
  });
  await connected(world, 4);
  await world.condition(tunnels, "main", "Ready", "Ready");
});

kubeTest("what is edited by hand comes back, and other managers' fields stay", async (kube) => {
  await using world = await OperatorWorld.start(kube);
  await world.startOperator();
  await world.putTunnel();
  const read = async () =>
    (await world.client.get(deployments, agent)) as unknown as {
      metadata: { labels: Record<string, string>; annotations: Record<string, string> };
      spec: {
        minReadySeconds?: number;
        template: { spec: { containers: { image: string }[] } };
      };
    };
  await eventually(
    async () => await world.client.find(deployments, agent) !== undefined,
    "the Deployment",
    patienceMs,
  );
  const before = await read();
  const { client: other, close } = kube.client({ fieldManager: "somebody" });
  await other.merge(deployments, agent, {
    metadata: { annotations: { "example.com/note": "theirs" } },
    spec: { minReadySeconds: 1 },
  });
  const { image } = before.spec.template.spec.containers[0]!;
  await kubectl(kube, "-n", namespace, "set", "image", "deployment/main-agent", "agent=other:1");
  await kubectl(
    kube,
    "-n",
    namespace,
    "label",
    "--overwrite",
    "deployment/main-agent",
    "culvert.dev/tunnel=x",
  );
  close();
  await eventually(
    async () => {
      const { metadata, spec } = await read();
      return metadata.labels["culvert.dev/tunnel"] === "main" &&
        spec.template.spec.containers[0]!.image === image;
    },
    "label and image to come back",
    patienceMs,
  );
  const { metadata, spec } = await read();
  assert.equal(metadata.annotations["example.com/note"], "theirs");
  assert.equal(spec.minReadySeconds, 1);
});

kubeTest(
  "an entry in a Secret lets the tunnel in at the relay; no token leaves the cluster",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const operator = await world.startOperator();
    world.startKubelet();
    const { spec } = world.tunnel() as unknown as { spec: { relay: object } };
    const registration = { secret: { name: "entry" } };
    await world.putTunnel({ relay: { ...spec.relay, registration } });
    await world.condition(tunnels, "main", "Registered", "EntryWritten");
    const { data } = await world.client.get(secrets, { namespace, name: "entry" }) as unknown as {
      data: Record<string, string>;
    };
    const { id, ...entry } = JSON.parse(atob(data["cluster.json"]!));
    assert.equal(id, "apps-main");
    // As the relay's operator does with what is given to them.
    assert.equal(await world.putEntry(id, entry), 201);
    await world.condition(tunnels, "main", "Ready", "Ready");
    await world.condition(tunnels, "main", "Connected", "PodsReady");
    const secret = await world.client.get(secrets, { namespace, name: "main-agent-token" });
    const token = atob((secret["data"] as { token: string }).token);
    const given = Object.values(data).map(atob).join("\n");
    const text = given + await kube.everything() + operator.logText() + world.agentLogs();
    for (const secret of [token, btoa(token)]) assert.equal(text.includes(secret), false);
  },
);

kubeTest(
  "agents and operator reach relays through a proxy, which may change, whose password nothing shows, and with a client certificate",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const password = "proxy-password-0123456789";
    const authorization = `Basic ${btoa(`user:${password}`)}`;
    const upstream = new URL(world.relay.connectUrl).host;
    await using agents = await ConnectProxy.start({ upstream, authorization });
    await using others = await ConnectProxy.start({ upstream, authorization });
    const goThrough = ({ address }: ConnectProxy) =>
      world.client.apply(secrets, {
        metadata: { name: "way-out", namespace },
        stringData: { proxy: `http://user:${password}@${address}` },
      });
    await goThrough(agents);
    const operator = await world.startOperator();
    world.startKubelet();
    const { spec } = world.tunnel() as unknown as { spec: { relay: Record<string, unknown> } };
    await world.putTunnel({
      relay: {
        ...spec.relay,
        url: "ws://relay.test:8443/connect",
        proxyRef: { name: "way-out" },
      },
    });
    await world.condition(tunnels, "main", "Ready", "Ready");
    assert.match(agents.heads[0]!, /^CONNECT relay\.test:8443 /);
    const podNames = async () =>
      (await world.client.list(pods, { namespace })).items.map(({ metadata }) => metadata.name);
    const before = await podNames();
    await goThrough(others);
    await eventually(
      () => world.agentLogs().includes(`http://${others.address}`),
      "the agent to have the new proxy",
      patienceMs,
    );
    agents.cut();
    await eventually(() => others.heads.length > 0, "a connection through it", patienceMs);
    assert.deepEqual([agents.heads.length, await podNames()], [1, before]);
    const objects = await kube.everything();
    const text = objects + await world.metrics() + operator.logText() + world.agentLogs();
    for (const secret of [password, btoa(`user:${password}`)]) {
      assert.equal(text.includes(secret), false);
    }
    await withFolder((folder) => showsCertificate(world, folder));
  },
);

/** A relay whose admin API asks for a client certificate gets the operator's, which has to be the right one. */
async function showsCertificate(world: OperatorWorld, folder: string): Promise<void> {
  const own = await loopbackFiles(folder);
  const authority = await Authority.create(folder, "callers");
  const stranger = await Authority.create(folder, "strangers");
  await using relay = await startRelay({
    clusters: [],
    args: [
      ...adminArgs(folder),
      ...["--tls-cert", own.certPath, "--tls-key", own.keyPath, "--caller-ca", authority.caPath],
    ],
  });
  const endpoint = `https://${await addressOf(relay, "admin")}`;
  await world.client.create(secrets, {
    metadata: { name: "relay-ca", namespace },
    stringData: { "ca.crt": await Deno.readTextFile(own.caPath) },
  });
  const { spec } = world.tunnel() as unknown as { spec: { relay: Record<string, unknown> } };
  const put = async (name: string, more: Record<string, unknown>) => {
    const api = {
      ...{ endpoint, tokenRef: { name: "relay-api" }, ...more },
      caRef: { kind: "Secret", name: "relay-ca" },
    };
    await world.client.apply(tunnels, {
      metadata: { name, namespace },
      spec: { ...spec, agent: { replicas: 0 }, relay: { ...spec.relay, registration: { api } } },
    });
  };
  const putPair = async ({ certPath, keyPath }: KeyPairFiles) => {
    await world.client.apply(secrets, {
      metadata: { name: "operator-tls", namespace },
      type: "kubernetes.io/tls",
      stringData: {
        "tls.crt": await Deno.readTextFile(certPath),
        "tls.key": await Deno.readTextFile(keyPath),
      },
    });
  };
  await put("bare", {});
  await world.condition(tunnels, "bare", "Registered", "RelayUnreachable");
  await put("certified", { clientCertRef: { name: "operator-tls" } });
  await world.condition(tunnels, "certified", "Registered", "ClientCertMissing");
  await putPair(await stranger.issue("stranger", "DNS:operator"));
  await world.condition(tunnels, "certified", "Registered", "RelayUnreachable");
  await putPair(await authority.issue("operator", "DNS:operator"));
  await world.condition(tunnels, "certified", "Registered", "Registered");
  // The relay ends the connection of whoever has none, and its alert may get lost.
  const { conditions } = (await world.client.get(tunnels, { namespace, name: "bare" }))[
    "status"
  ] as { conditions: readonly Condition[] };
  assert.match(
    conditions.find(({ type }) => type === "Registered")!.message,
    /demands? a client certificate, and the operator has none for it$/,
  );
}

kubeTest(
  "the chart's agentClusterRoles are what a Tunnel's ServiceAccount can be bound to",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    for (const role of ["seer", "other"]) {
      await kubectl(kube, "create", "clusterrole", role, "--verb=get", "--resource=pods");
    }
    await world.startOperator(["--set", "agentClusterRoles={seer}"]);
    await world.putTunnel({ kubernetesApi: { clusterRole: "seer" } });
    await world.condition(tunnels, "main", "ClusterRoleBound", "Bound");
    const may = async (verb: string) => {
      const account = `--as=system:serviceaccount:${namespace}:main-agent`;
      const args = ["auth", "can-i", verb, "pods", "-n", namespace, account];
      const { stdout } = await run("kubectl", ["--kubeconfig", kube.kubeconfig, ...args]);
      return stdout.trim();
    };
    await eventually(async () => await may("get") === "yes", "the right", patienceMs);
    await world.putTunnel({ kubernetesApi: { clusterRole: "other" } });
    await world.condition(tunnels, "main", "ClusterRoleBound", "Forbidden");
    await world.putTunnel();
    await eventually(
      async () => await world.client.find(roleBindings, agent) === undefined,
      "the binding to go",
      patienceMs,
    );
    await eventually(async () => await may("get") === "no", "the right to go", patienceMs);
  },
);
