/** The operator as a program while the API server is frozen, killed and compacted. */
import assert from "node:assert/strict";
import { delay } from "../../../lib/kube/delay.ts";
import { configMaps, deployments, services } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { namespace, OperatorWorld, patienceMs, tunnelBindings, tunnels } from "./cluster.ts";
import { kubeTest } from "./own_kube.ts";

/** The sum of a metric's series that a pattern takes. */
function sumOf(metrics: string, pattern: RegExp): number {
  return metrics.split("\n").filter((line) => pattern.test(line))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

async function bind(world: OperatorWorld, name: string): Promise<void> {
  await world.client.apply(tunnelBindings, {
    metadata: { name, namespace },
    spec: {
      tunnelRef: { name: "main" },
      routes: [{
        name: "main",
        hostnames: [`${name}.example.com`],
        backend: { service: { name: "web", port: 80 } },
      }],
    },
  });
}

const frozenMs = 30_000;

/** How often each collection has been listed. */
function listsIn(metrics: string): ReadonlyMap<string, number> {
  const series = metrics.matchAll(
    /^culvert_operator_kube_lists_total\{resource="(\w+)"\} (\d+)$/gm,
  );
  return new Map([...series].map(([, resource = "", count]) => [resource, Number(count)]));
}

/** At most one more list of each kind; the one that the cluster lacks is looked for. */
function assertListedOnce(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>) {
  assert.ok(before.size > 5);
  for (const [resource, count] of after) {
    if (resource === "dnsendpoints") continue;
    const more = count - (before.get(resource) ?? 0);
    assert.ok(more <= 1, `${more} lists of ${resource}`);
  }
}

kubeTest(
  "an API server that is frozen, killed and compacted costs one list of a kind, and no entry at the relay",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.client.apply(services, {
      metadata: { name: "web", namespace },
      spec: { ports: [{ name: "http", port: 80 }] },
    });
    const names = ["one", "two"];
    const ready = async () => {
      for (const name of names) await world.condition(tunnelBindings, name, "Ready", "Ready");
    };
    const bindMore = async (name: string) => {
      names.push(name);
      await bind(world, name);
      await ready();
    };
    for (const name of names) await bind(world, name);
    await ready();
    const [pid] = world.agentPids();

    const atFirst = listsIn(await world.metrics());
    await kube.freeze();
    await delay(frozenMs);
    await kube.restart();
    await bindMore("three");
    const afterRestart = listsIn(await world.metrics());
    assertListedOnce(atFirst, afterRestart);

    // Watches have not heard of what has changed since, and etcd forgets it.
    await kube.freeze();
    await eventually(
      async () => sumOf(await world.metrics(), /verb="\w+",resource="leases",code="error"/) > 0,
      "the operator to notice",
      patienceMs,
    );
    await kube.thaw();
    await kube.compact();
    await kube.restart();
    await bindMore("four");
    const metrics = await world.metrics();
    assertListedOnce(afterRestart, listsIn(metrics));
    assert.ok(sumOf(metrics, /watch_ends_total\{.*why="expired"/) > 0, "410 was met");

    assert.equal(sumOf(metrics, /relay_requests_total\{method="DELETE"/), 0, "nothing was deleted");
    assert.deepEqual(world.agentPids(), [pid], "the agents are the same");
    for (const name of names) {
      assert.notEqual((await world.web(`${name}.example.com`)).status, 421, name);
    }
    const { items } = JSON.parse((await world.admin("services")).text) as { items: unknown[] };
    assert.equal(items.length, names.length);
    for (const resource of [deployments, configMaps]) {
      const selection = { namespace, labelSelector: "culvert.dev/tunnel=main" };
      const made = await world.client.list(resource, selection);
      assert.equal(made.items.length, 1, resource.plural);
    }
  },
);

kubeTest(
  "a settled operator writes nothing but its Lease, and 500 bindings need less than 256 MiB",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const operator = await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.client.apply(services, {
      metadata: { name: "web", namespace },
      spec: { ports: [{ name: "http", port: 80 }] },
    });
    await world.condition(tunnels, "main", "Ready", "Ready");
    const bareBytes = await operator.residentBytes();
    const names = Array.from({ length: 500 }, (_, index) => `b${index}`);
    await Promise.all(names.map((name) => bind(world, name)));
    await eventually(
      async () => {
        const { items } = await world.client.list(tunnelBindings, { namespace });
        return items.filter(({ status }) =>
          (status as { conditions?: { type: string; status: string }[] } | undefined)?.conditions
            ?.some((it) => it.type === "Ready" && it.status === "True")
        ).length === names.length;
      },
      "500 bindings to be Ready",
      5 * patienceMs,
    );
    const bytes = await operator.peakResidentBytes();
    assert.ok(bytes < 256 * 1024 * 1024, `${bytes >> 20} MiB, ${bareBytes >> 20} before`);
    const writes = async () =>
      sumOf(
        await world.metrics(),
        /kube_requests_total\{verb="(apply|patch|create|update|delete)",resource="(?!leases|events)/,
      );
    const looks = async () =>
      sumOf(await world.metrics(), /kube_requests_total\{verb="get",resource="secrets"/);
    const [written, looked] = [await writes(), await looks()];
    await eventually(
      async () => await looks() > looked + 4,
      "more looks at the Secrets",
      patienceMs,
    );
    assert.equal(await writes(), written);
  },
);
