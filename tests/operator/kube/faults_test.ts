/** The operator as a program while the API server is frozen, killed and compacted, and while the relay is. */
import assert from "node:assert/strict";
import { delay } from "../../../lib/kube/delay.ts";
import { configMaps, deployments, events, services } from "../../../lib/kube/resources.ts";
import { withFolder } from "../../support/certificates.ts";
import { eventually } from "../../support/deadline.ts";
import { addressOf, startRelay } from "../../support/programs.ts";
import {
  adminArgs,
  namespace,
  OperatorWorld,
  patienceMs,
  tunnelBindings,
  tunnels,
} from "./cluster.ts";
import { assertListedOnce, frozenMs, listsIn } from "./frozen_kube.ts";
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

/** Several requests to the relay time out meanwhile, one after the other. */
const relayFrozenMs = 60_000;
/** A relay that is back is asked within this time. */
const returnMs = 60_000;

kubeTest(
  "a relay that is frozen keeps nothing else waiting, costs one Event, and leaves agents as they are",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const { client, relay: { program: { pid } } } = world;
    await world.startOperator([], ["--resync", "5s"]);
    world.startKubelet();
    await world.putTunnel();
    await world.condition(tunnels, "main", "Ready", "Ready");
    const deployment = () => client.get(deployments, { namespace, name: "main-agent" });
    const { metadata: { uid, generation } } = await deployment();
    const [agents, uids] = [world.agentPids(), await world.podUids()];
    const calls = async (pattern: RegExp) => sumOf(await world.metrics(), pattern);

    await withFolder(async (folder) => {
      await using other = await startRelay({ clusters: [], args: adminArgs(folder) });
      const endpoint = `http://${await addressOf(other, "admin")}`;
      Deno.kill(pid, "SIGSTOP");
      try {
        const frozen = delay(relayFrozenMs);
        await world.condition(tunnels, "main", "Registered", "RelayUnreachable");
        const failed = await calls(/relay_requests_total\{.*code="error"/);
        await putElsewhere(world, "other", endpoint);
        await world.condition(tunnels, "other", "Registered", "Registered");
        await frozen;
        const more = await calls(/relay_requests_total\{.*code="error"/) - failed;
        assert.ok(more > 0 && more <= relayFrozenMs / 5_000, `${more} requests failed`);
      } finally {
        Deno.kill(pid, "SIGCONT");
      }
      const thawedMs = performance.now();
      await world.condition(tunnels, "main", "Ready", "Ready");
      const tookMs = performance.now() - thawedMs;
      assert.ok(tookMs <= returnMs, `Ready after ${tookMs} ms`);
    });
    const warnings = (await client.list(events, { namespace })).items.filter((event) =>
      event["type"] === "Warning" && (event["regarding"] as { name: string }).name === "main"
    );
    const reasons = warnings.map(({ reason }) => reason);
    assert.equal(reasons.filter((reason) => reason === "RelayUnreachable").length, 1, `${reasons}`);
    // The relay may be asked again before its agents are back.
    assert.ok(
      new Set(reasons).isSubsetOf(new Set(["RelayUnreachable", "NotConnected"])),
      `${reasons}`,
    );
    assert.deepEqual([world.agentPids(), await world.podUids()], [agents, uids]);
    const { metadata } = await deployment();
    assert.deepEqual([metadata.uid, metadata.generation], [uid, generation]);
    assert.equal(await calls(/relay_requests_total\{method="DELETE"/), 0);
  },
);

/** A Tunnel at another relay, without agents. */
async function putElsewhere(world: OperatorWorld, name: string, endpoint: string): Promise<void> {
  const { spec } = world.tunnel() as unknown as { spec: { relay: Record<string, unknown> } };
  const registration = { api: { endpoint, tokenRef: { name: "relay-api" } } };
  await world.client.apply(tunnels, {
    metadata: { name, namespace },
    spec: { ...spec, agent: { replicas: 0 }, relay: { ...spec.relay, registration } },
  });
}
