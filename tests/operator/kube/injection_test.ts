/** Sidecar injection by the operator's webhook, with a real API server that calls it. */
import assert from "node:assert/strict";
import { KubeError } from "../../../lib/kube/errors.ts";
import { namespaces, pods, serviceAccounts } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { namespace, type OperatorWorld, patienceMs } from "./cluster.ts";
import { create, initContainersOf, namesOf, pod, refusal } from "./injected_pods.ts";
import { type InjectionWorld, withInjection } from "./injection_world.ts";
import { kubeTest } from "./own_kube.ts";

/** One API server does for all of these: it takes its time to start. */
kubeTest(
  "pods with the label get the agent or a reason, and no others wait when the webhook is down",
  (kube) =>
    withInjection(kube, async (injection, world) => {
      await injectsOnce(world);
      await refusesWithReason(world);
      await othersDoNotWait(injection, world);
    }),
);

async function injectsOnce({ client }: OperatorWorld): Promise<void> {
  const initContainers = [{ name: "migrate", image: "app:1" }];
  const injected = await create(client, pod("labelled", { spec: { initContainers } }));
  assert.equal(namesOf(injected), "migrate,culvert-agent");
  const [, sidecar] = initContainersOf(injected);
  assert.equal(sidecar?.restartPolicy, "Always");
  assert.ok(sidecar.args?.includes("--targets=/etc/culvert/targets/targets.yaml"));
  const volumes = (injected["spec"] as { volumes: { name: string }[] }).volumes;
  assert.ok(volumes.some(({ name }) => name === "culvert-targets"));

  // What was injected before stays as it is.
  const { initContainers: all } = injected["spec"] as { initContainers: unknown[] };
  const again = await create(client, pod("again", { spec: { initContainers: all, volumes } }));
  assert.equal(namesOf(again), "migrate,culvert-agent");

  assert.equal(namesOf(await create(client, pod("plain", { tunnel: null }))), "");
  await client.merge(pods, { namespace, name: "plain" }, {
    metadata: { labels: { "culvert.dev/inject": "main" } },
  });
  assert.equal(namesOf(await client.get(pods, { namespace, name: "plain" })), "");

  for (const where of ["kube-system", "culvert"]) {
    await client.apply(serviceAccounts, { metadata: { name: "default", namespace: where } });
    assert.equal(namesOf(await create(client, pod("own", { where }))), "", where);
  }
}

async function refusesWithReason({ client }: OperatorWorld): Promise<void> {
  assert.match(
    await refusal(client, pod("lost", { tunnel: "none" })),
    /denied the request: There is no Tunnel "none" in namespace apps; a pod gets the agent of/,
  );
  await client.create(namespaces, { metadata: { name: "other" } });
  await client.create(serviceAccounts, { metadata: { name: "default", namespace: "other" } });
  assert.match(
    await refusal(client, pod("stranger", { where: "other" })),
    /There is no Tunnel "main" in namespace other/,
  );
  assert.match(
    await refusal(client, pod("port", { annotations: { "culvert.dev/port": "http" } })),
    /annotation culvert.dev\/port is "http"; it must be a port from 1 to 65535/,
  );
}

async function othersDoNotWait(
  injection: InjectionWorld,
  { client, operator }: OperatorWorld,
): Promise<void> {
  await operator!.stop();
  assert.match(await refusal(client, pod("waiting")), /failed calling webhook/);
  await create(client, pod("other", { tunnel: null }));
  await injection.startOperator();
  await eventually(
    async () => {
      try {
        return namesOf(await create(client, pod("waiting"))) === "culvert-agent";
      } catch (error) {
        if (error instanceof KubeError) return false;
        throw error;
      }
    },
    "the pod to be admitted",
    patienceMs,
  );
}
