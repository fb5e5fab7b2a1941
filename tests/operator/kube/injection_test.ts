/** Sidecar injection by the operator's webhook, with a real API server that calls it. */
import assert from "node:assert/strict";
import { KubeError } from "../../../lib/kube/errors.ts";
import {
  mutatingWebhooks,
  namespaces,
  pods,
  secrets,
  serviceAccounts,
} from "../../../lib/kube/resources.ts";
import { certificatesIn } from "../../../lib/operator/injection/authority.ts";
import { readKeys, trustedBy } from "../../../lib/operator/injection/webhook_secret.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import { namespace, OperatorWorld, patienceMs } from "./cluster.ts";
import { create, initContainersOf, namesOf, pod, refusal } from "./injected_pods.ts";
import { kubeTest, type OwnKube } from "./own_kube.ts";
import { addressOf } from "../../support/programs.ts";

const configuration = { name: "culvert-operator" };
const webhookSecret = { namespace: "culvert", name: "culvert-operator-webhook" };

/** A cluster whose API server calls the webhook at a port of this machine. */
class InjectionWorld {
  readonly world: OperatorWorld;
  readonly #values: readonly string[];
  readonly #args: readonly string[];

  private constructor(world: OperatorWorld, port: number, args: readonly string[]) {
    this.world = world;
    const url = `https://127.0.0.1:${port}/mutate-pods`;
    this.#values = ["--set", `injection.mode=webhook,injection.url=${url}`];
    this.#args = ["--injection", "webhook", "--webhook-addr", `127.0.0.1:${port}`, ...args];
  }

  static async start(world: OperatorWorld, args: readonly string[] = []): Promise<InjectionWorld> {
    const injection = new InjectionWorld(world, freePort(), args);
    const rendered = await world.helm("culvert-operator", injection.#values);
    const webhook = rendered.split(/^---$/m).filter((text) =>
      text.includes("kind: MutatingWebhookConfiguration")
    );
    await world.apply(webhook.join("---\n"));
    await injection.startOperator();
    await world.putTunnel();
    return injection;
  }

  async startOperator(): Promise<void> {
    await this.world.startOperator(this.#values, this.#args);
    await this.ready();
  }

  /** Waits until the operator says that it is ready. */
  async ready(): Promise<void> {
    const address = await addressOf(this.world.operator!, "health");
    let last = "";
    await eventually(
      async () => {
        const response = await fetch(`http://${address}/readyz`);
        last = await response.text();
        return response.ok;
      },
      () => `the operator to be ready: ${last}\n${this.world.operator?.logText()}`,
      patienceMs,
    );
  }
}

async function withWorld(
  kube: OwnKube,
  test: (injection: InjectionWorld, world: OperatorWorld) => Promise<void>,
  args: readonly string[] = [],
): Promise<void> {
  await using world = await OperatorWorld.start(kube);
  await test(await InjectionWorld.start(world, args), world);
}

/** One API server does for all of these: it takes its time to start. */
kubeTest(
  "pods with the label get the agent or a reason, and no others wait when the webhook is down",
  (kube) =>
    withWorld(kube, async (injection, world) => {
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

kubeTest(
  "CA and certificate are renewed under pod creations without a failed admission",
  (kube) =>
    withWorld(kube, async (injection, { client, operator }) => {
      const before = readKeys(await client.get(secrets, webhookSecret));
      let count = 0;
      let isOver = false;
      const creating = (async () => {
        while (!isOver) {
          const created = await create(client, pod(`load-${++count}`));
          assert.equal(namesOf(created), "culvert-agent");
        }
      })();
      creating.catch(() => {});
      // As if it were due: what signs is gone, and what it has signed is in use.
      await client.merge(secrets, webhookSecret, { data: { "ca.crt": null, "ca.key": null } });
      let last = "";
      const isRenewed = async () => {
        const { ca, leaf, trusted } = readKeys(await client.get(secrets, webhookSecret));
        const current = trustedBy(await client.get(mutatingWebhooks, configuration));
        last = `${trusted.length} in the Secret, ${current.length} in the caBundle`;
        return ca !== undefined && ca.cert !== before.ca?.cert && leaf !== undefined &&
          leaf.cert !== before.leaf?.cert && trusted.join() === ca.cert &&
          current.join() === certificatesIn(ca.cert).join();
      };
      await Promise.race([
        creating,
        eventually(isRenewed, () => `a renewal: ${last}\n${operator?.logText()}`, patienceMs),
      ]);
      const atEnd = count;
      await Promise.race([
        creating,
        eventually(() => count > atEnd + 3, "pods after the renewal", patienceMs),
      ]);
      isOver = true;
      await creating;
      await injection.ready();
    }, ["--webhook-cert-lifetime", "100s", "--webhook-ca-lifetime", "1h"]),
);
