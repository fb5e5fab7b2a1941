/** The operator as a program while the API server is frozen, killed and compacted. */
import assert from "node:assert/strict";
import { services } from "../../../lib/kube/resources.ts";
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

kubeTest(
  "an API server that is frozen, killed and compacted costs no entry at the relay",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.client.apply(services, {
      metadata: { name: "web", namespace },
      spec: { ports: [{ name: "http", port: 80 }] },
    });
    for (const name of ["one", "two"]) await bind(world, name);
    for (const name of ["one", "two"]) {
      await world.condition(tunnelBindings, name, "Ready", "Ready");
    }
    const puts = /relay_requests_total\{method="PUT"/;
    const before = sumOf(await world.metrics(), puts);
    const [pid] = world.agentPids();

    await kube.freeze();
    await eventually(
      async () => sumOf(await world.metrics(), /verb="\w+",resource="leases",code="error"/) > 0,
      "the operator to notice",
      patienceMs,
    );
    await kube.thaw();
    await kube.compact();
    await kube.restart();
    await bind(world, "three");
    await world.condition(tunnelBindings, "three", "Ready", "Ready");
    const metrics = await world.metrics();
    assert.equal(sumOf(metrics, /relay_requests_total\{method="DELETE"/), 0, "nothing was deleted");
    assert.ok(sumOf(metrics, puts) > before);
    assert.deepEqual(world.agentPids(), [pid], "the agents are the same");
    for (const name of ["one", "two", "three"]) {
      assert.notEqual((await world.web(`${name}.example.com`)).status, 421, name);
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
