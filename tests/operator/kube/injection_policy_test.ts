/** Sidecar injection without a webhook: by the chart's MutatingAdmissionPolicy, in a real API server. */
import assert from "node:assert/strict";
import { KubeError } from "../../../lib/kube/errors.ts";
import type { KubeObject } from "../../../lib/kube/objects.ts";
import { serviceAccounts } from "../../../lib/kube/resources.ts";
import { replyTo } from "../../../lib/operator/injection/admission.ts";
import type { Operation } from "../../../lib/operator/injection/inject.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import { namespace, OperatorWorld, patienceMs, tunnels } from "./cluster.ts";
import { create, namesOf, pod, refusal, startAgentOf } from "./injected_pods.ts";
import { startOtherWebhook } from "./other_webhook.ts";
import { kubeTest } from "./own_kube.ts";

const group = "admissionregistration.k8s.io";
const agentImage = "culvert-agent:test";

/** What the webhook would make of a pod. */
async function webhooked(
  pod: KubeObject,
  tunnel: KubeObject,
): Promise<KubeObject> {
  const request = {
    ...{ uid: "1", namespace, operation: "CREATE", object: pod },
    resource: { group: "", version: "v1", resource: "pods" },
  };
  const review = { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request };
  const { body } = await replyTo(new TextEncoder().encode(JSON.stringify(review)), {
    tunnel: () => Promise.resolve(tunnel),
    isNative: () => true,
    agentImage,
    answered() {},
  });
  const { response } = body as { response: { patch: string } };
  return patched(pod, JSON.parse(atob(response.patch)) as readonly Operation[]);
}

/** RFC 6902, as far as the webhook's patches go: additions to lists of the spec. */
function patched(pod: KubeObject, operations: readonly Operation[]): KubeObject {
  const spec = structuredClone(pod["spec"]) as Record<string, unknown>;
  for (const { path, value } of operations) {
    const [, , list = "", place] = path.split("/");
    spec[list] = place === "-" ? [...spec[list] as unknown[], value] : value;
  }
  return { ...pod, spec };
}

/** A pod's spec without what differs between any two pods, and without empty lists. */
function specOf(pod: KubeObject): unknown {
  const { volumes, ...rest } = pod["spec"] as { volumes: { name: string }[] };
  // The API server's own volume of a token comes before or behind, as the pod had volumes or not.
  const sorted = volumes.toSorted((one, other) => one.name < other.name ? -1 : 1);
  const text = JSON.stringify(
    { ...rest, volumes: sorted },
    (_key, value) => Array.isArray(value) && value.length === 0 ? undefined : value,
  );
  return JSON.parse(text.replaceAll(/kube-api-access-[a-z0-9]+/g, "kube-api-access"));
}

/** The API version of the chart's MutatingAdmissionPolicy. */
function mutatingVersionOf(rendered: string): string | undefined {
  return /^apiVersion: (\S+)\nkind: MutatingAdmissionPolicy$/m.exec(rendered)?.[1];
}

/** The newest version in which the API server has MutatingAdmissionPolicies. */
async function newestMutatingVersion(world: OperatorWorld): Promise<string | undefined> {
  for (const version of ["v1", "v1beta1"]) {
    const list = await world.kubectl("get", "--raw", `/apis/${group}/${version}`);
    if (list.includes('"mutatingadmissionpolicies"')) return `${group}/${version}`;
  }
  return undefined;
}

kubeTest(
  "the policy makes of a pod what the webhook would, and refuses what it would",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const { client } = world;
    const values = ["--set", "injection.mode=policy"];
    const rendered = await world.helm("culvert-operator", values);
    const policies = rendered.split(/^---$/m).filter((text) =>
      /kind: \w+AdmissionPolicy/.test(text)
    );
    assert.equal(policies.length, 4);
    assert.equal(mutatingVersionOf(rendered), await newestMutatingVersion(world));
    await world.apply(policies.join("---\n"));
    await world.startOperator(values, ["--injection", "policy", "--agent-image", agentImage]);
    await world.putTunnel({
      agent: { replicas: 1, imagePullSecrets: [{ name: "registry" }] },
      sidecar: {
        hostnames: ["web.example.com"],
        resources: { requests: { cpu: "10m" }, limits: { memory: "64Mi" } },
      },
    });
    const tunnel = () => client.get(tunnels, { namespace, name: "main" });
    await eventually(
      async () =>
        (await tunnel() as { status?: { sidecar?: unknown } }).status?.sidecar !== undefined,
      "the sidecar in the Tunnel's status",
      patienceMs,
    );
    let last = "";
    await eventually(
      async () => {
        try {
          return namesOf(await create(client, pod("first"))) === "culvert-agent";
        } catch (error) {
          if (!(error instanceof KubeError)) throw error;
          last = error.message;
          return false;
        }
      },
      () => `a pod to be admitted: ${last}`,
      patienceMs,
    );

    const more = {
      initContainers: [{ name: "migrate", image: "app:1" }],
      volumes: [{ name: "data", emptyDir: {} }],
      imagePullSecrets: [{ name: "registry" }],
    };
    const own = {
      "culvert.dev/port": "8080",
      "culvert.dev/hostname": "web.example.com",
      "culvert.dev/health-port": "19000",
    };
    for (
      const [name, asked] of Object.entries({
        plain: {},
        more: { spec: more },
        own: { annotations: own },
      })
    ) {
      const injected = await create(client, pod(name, asked));
      const expected = await create(
        client,
        await webhooked(pod(`${name}-expected`, asked), await tunnel()),
      );
      assert.deepEqual(specOf(injected), specOf(expected), name);
    }

    await using _ = await startOtherWebhook(client);
    let count = 0;
    const changed = async (stranger: string) =>
      namesOf(await create(client, pod(`other-${++count}`, { annotations: { stranger } })));
    await eventually(
      async () => (await changed("adds")).includes("stranger"),
      "the other webhook to be called",
      patienceMs,
    );
    assert.equal(await changed("adds"), "culvert-agent,stranger");
    assert.equal(await changed("replaces"), "stranger,culvert-agent");

    // The API server can't compare hostnames; the relay does.
    const stolen = await create(
      client,
      pod("stolen", {
        annotations: {
          ...{ "culvert.dev/port": "8080", "culvert.dev/health-port": String(freePort()) },
          "culvert.dev/hostname": "stolen.example.com,web.example.com",
        },
      }),
    );
    await using agent = await startAgentOf(client, stolen);
    await world.relay.waitForLog(({ message, hostname }) =>
      message === "Refused a hostname that an agent claims" && hostname === "stolen.example.com"
    );
    await agent.waitForLog((line) => JSON.stringify(line).includes("stolen.example.com"));

    const unlabelled = await create(client, pod("unlabelled", { tunnel: null }));
    assert.equal(namesOf(unlabelled), "");
    await client.apply(serviceAccounts, {
      metadata: { name: "default", namespace: "kube-system" },
    });
    assert.equal(namesOf(await create(client, pod("system", { where: "kube-system" }))), "");

    assert.match(
      await refusal(client, pod("lost", { tunnel: "none" })),
      /There is no Tunnel "none" in namespace apps, or the operator has not seen it yet/,
    );
    const annotated = (annotations: Record<string, string>) => pod("wrong", { annotations });
    assert.match(await refusal(client, annotated({ "culvert.dev/port": "http" })), /must be ports/);
    assert.match(
      await refusal(client, annotated({ "culvert.dev/health-port": "65536" })),
      /must be ports from 1 to 65535/,
    );
    assert.match(
      await refusal(client, annotated({ "culvert.dev/hostname": "web.example.com" })),
      /needs culvert.dev\/port/,
    );

    await world.operator!.stop();
    const without = await create(client, pod("without-operator"));
    assert.equal(namesOf(without), "culvert-agent", "the API server needs nobody for it");
  },
);
