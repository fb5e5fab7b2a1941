/** Pods of many kinds that get an agent by the webhook, in a real API server with its own policies. */
import assert from "node:assert/strict";
import type { KubeObject } from "../../../lib/kube/objects.ts";
import { namespaces, pods, type Resource } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import { namespace, type OperatorWorld, patienceMs, tunnels } from "./cluster.ts";
import { create, initContainersOf, namesOf, pod, refusal, startAgentOf } from "./injected_pods.ts";
import { withInjection } from "./injection_world.ts";
import { startOtherWebhook } from "./other_webhook.ts";
import { kubeTest } from "./own_kube.ts";

const limitRanges: Resource = core("LimitRange", "limitranges");
const resourceQuotas: Resource = core("ResourceQuota", "resourcequotas");

function core(kind: string, plural: string): Resource {
  return { group: "", version: "v1", kind, plural, isNamespaced: true };
}

function agentOf(pod: KubeObject) {
  const agents = initContainersOf(pod).filter(({ name }) => name === "culvert-agent");
  assert.equal(agents.length, 1, namesOf(pod));
  return agents[0]!;
}

/** One API server does for all of these. */
kubeTest(
  "pods of all kinds get the agent once, within the cluster's own policies",
  async (kube) => {
    await withInjection(kube, async (_, world) => {
      await otherKinds(world);
      await anotherWebhook(world);
      await restricted(world);
      await limited(world);
      kube.startControllers(["resourcequota-controller"]);
      await counted(world);
    });
  },
);

async function otherKinds(world: OperatorWorld): Promise<void> {
  const { client } = world;
  const generated = await client.create(pods, {
    ...pod(""),
    metadata: { generateName: "web-", namespace, labels: { "culvert.dev/inject": "main" } },
  } as unknown as KubeObject);
  assert.match(generated.metadata.name, /^web-\w+$/);
  agentOf(generated);

  const host = await create(client, pod("host", { spec: { hostNetwork: true } }));
  const [port] = agentOf(host).ports ?? [];
  assert.equal(port?.hostPort, port?.containerPort);
  const annotations = { "culvert.dev/health-port": "19007" };
  const other = await create(client, pod("host-2", { annotations, spec: { hostNetwork: true } }));
  assert.equal(agentOf(other).ports?.[0]?.hostPort, 19_007);

  const label = "--labels=culvert.dev/inject=main";
  const dry = await world.kubectl(
    ...["run", "dry", "-n", namespace, "--image=app:1", label],
    ...["--dry-run=server", "-o", "json"],
  );
  agentOf(JSON.parse(dry) as KubeObject);
  assert.equal(await client.find(pods, { namespace, name: "dry" }), undefined);

  const ephemeral = { name: "debug", image: "debug:1", targetContainerName: "app" };
  await world.kubectl(
    ...["patch", "pod", "host", "-n", namespace, "--subresource=ephemeralcontainers"],
    ...["--type=strategic", "-p", JSON.stringify({ spec: { ephemeralContainers: [ephemeral] } })],
  );
  agentOf(await client.get(pods, { namespace, name: "host" }));
}

async function anotherWebhook({ client }: OperatorWorld): Promise<void> {
  await using _ = await startOtherWebhook(client);
  // The API server learns of a configuration a moment after it is there.
  let count = 0;
  const changed = async (stranger: string) =>
    await create(client, pod(`other-${++count}`, { annotations: { stranger } }));
  await eventually(
    async () => namesOf(await changed("adds")).includes("stranger"),
    "the other webhook to be called",
    patienceMs,
  );
  const added = await changed("adds");
  assert.equal(namesOf(added), "culvert-agent,stranger");
  const replaced = await changed("replaces");
  assert.equal(
    namesOf(replaced),
    "stranger,culvert-agent",
    "it is asked again, and adds the agent",
  );
}

async function restricted({ client }: OperatorWorld): Promise<void> {
  const enforce = "pod-security.kubernetes.io/enforce";
  const setLevel = (level: string | null) =>
    client.merge(namespaces, { name: namespace }, { metadata: { labels: { [enforce]: level } } });
  await setLevel("restricted");
  await eventually(
    async () => {
      const created = await create(client, pod(`open-${crypto.randomUUID()}`)).then(
        () => true,
        () => false,
      );
      return !created;
    },
    "the level to be enforced",
    patienceMs,
  );
  assert.match(await refusal(client, pod("open")), /violates PodSecurity "restricted/);
  const securityContext = {
    ...{ allowPrivilegeEscalation: false, runAsNonRoot: true },
    ...{ capabilities: { drop: ["ALL"] }, seccompProfile: { type: "RuntimeDefault" } },
  };
  const containers = [{ name: "app", image: "app:1", securityContext }];
  for (const [name, annotations] of [["routes", {}], ["port", { "culvert.dev/port": "80" }]]) {
    const asked = { annotations: annotations as Record<string, string>, spec: { containers } };
    agentOf(await create(client, pod(`restricted-${name}`, asked)));
  }
  await setLevel(null);
}

async function limited({ client }: OperatorWorld): Promise<void> {
  await client.create(limitRanges, {
    metadata: { name: "defaults", namespace },
    spec: { limits: [{ type: "Container", default: { memory: "64Mi" } }] },
  });
  await eventually(
    async () => {
      const created = await create(client, pod(`limited-${crypto.randomUUID()}`));
      return agentOf(created).resources?.limits?.["memory"] === "64Mi";
    },
    "the namespace's default limit on the agent",
    patienceMs,
  );
}

async function counted({ client }: OperatorWorld): Promise<void> {
  await client.create(resourceQuotas, {
    metadata: { name: "few", namespace },
    spec: { hard: { "limits.memory": "1Ti" } },
  });
  const isCounted = async () => {
    const { status } = await client.get(resourceQuotas, { namespace, name: "few" }) as unknown as {
      status?: { used?: unknown };
    };
    return status?.used !== undefined;
  };
  await eventually(isCounted, "the quota to be counted", patienceMs);
  agentOf(await create(client, pod("counted")));
  const used = async () => {
    const { status } = await client.get(resourceQuotas, { namespace, name: "few" }) as unknown as {
      status: { used: Record<string, string> };
    };
    return status.used["limits.memory"];
  };
  await eventually(async () => await used() !== "0", "the pod in the quota", patienceMs);
}

kubeTest(
  "hostnames that a pod's author writes afterwards are refused by the relay",
  async (kube) => {
    await using app = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("the app"),
    );
    await withInjection(kube, async (_, world) => {
      const { client, relay } = world;
      const healthPort = freePort();
      await world.putTunnel({
        agent: { replicas: 0 },
        sidecar: { hostnames: ["web.example.com"], healthPort },
      });
      await world.condition(tunnels, "main", "Registered", "Registered");
      const port = { "culvert.dev/port": String(app.addr.port) };
      const hostname = (name: string) => ({ ...port, "culvert.dev/hostname": name });
      assert.match(
        await refusal(client, pod("stolen", { annotations: hostname("stolen.example.com") })),
        /asks for "stolen.example.com", which is none of the Tunnel's sidecar.hostnames/,
      );
      await create(client, pod("web", { annotations: hostname("web.example.com") }));
      {
        await using _agent = await startAgentOf(client, await client.get(pods, webPod));
        await eventually(
          async () => (await world.web("web.example.com")).text === "the app",
          "the app at its hostname",
          patienceMs,
        );
      }
      // Nothing checks what changes afterwards; the next agent of the pod takes it.
      const annotations = hostname("stolen.example.com,web.example.com");
      await client.merge(pods, webPod, { metadata: { annotations } });
      await using agent = await startAgentOf(client, await client.get(pods, webPod));
      await relay.waitForLog(({ message, hostname }) =>
        message === "Refused a hostname that an agent claims" && hostname === "stolen.example.com"
      );
      await eventually(
        async () => (await world.web("web.example.com")).text === "the app",
        "the app at its hostname",
        patienceMs,
      );
      assert.notEqual((await world.web("stolen.example.com")).status, 200);
      await agent.waitForLog((line) => JSON.stringify(line).includes("stolen.example.com"));
    });
  },
);

const webPod = { namespace, name: "web" };
