/** The client of the Kubernetes API against a real API server that is frozen, killed and compacted. */
import assert from "node:assert/strict";
import { isPermanent } from "../../../lib/kube/errors.ts";
import { EventRecorder } from "../../../lib/kube/events.ts";
import { configMaps, deployments, events, namespaces } from "../../../lib/kube/resources.ts";
import {
  configMap,
  countedMetrics,
  keptLog,
  quickTiming,
  runningCache,
} from "../../kube/kube_setup.ts";
import { eventually } from "../../support/deadline.ts";
import { kubeTest } from "./own_kube.ts";

/** A server that comes back on a busy machine. */
const patienceMs = 120_000;

kubeTest(
  "a cache of a real API server outlives its freezing, its death and etcd's compaction",
  async (kube) => {
    const metrics = countedMetrics();
    const { client, close } = kube.client({ timeoutMs: 3_000, pageSize: 2, metrics });
    await client.create(namespaces, { metadata: { name: "apps" } });
    for (const name of ["a", "b", "c"]) await client.create(configMaps, configMap(name));
    await using running = runningCache(client, {
      metrics,
      selection: { namespace: "apps" },
      timing: { ...quickTiming, silenceMs: 4_000, watchSeconds: 2, maxBackoffMs: 500 },
    });
    const { cache, told } = running;
    const has = (name: string) => cache.get(`apps/${name}`) !== undefined;
    await cache.synced;
    assert.ok(has("a") && has("c"));

    await kube.freeze();
    await eventually(() => metrics.ends.includes("silent"), "the watch to be given up", patienceMs);
    await kube.thaw();
    await client.create(configMaps, configMap("d"));
    await eventually(() => has("d"), "a change after the thaw", patienceMs);
    assert.equal(metrics.lists, 1, "watches were resumed");

    await kube.restart();
    await client.create(configMaps, configMap("e"));
    await eventually(() => has("e"), "a change after the restart", patienceMs);

    const gone = await client.get(configMaps, { namespace: "apps", name: "a" });
    await kube.freeze();
    await eventually(
      () => metrics.ends.filter((why) => why !== "closed").length >= 3,
      "the watch to be away",
      patienceMs,
    );
    await kube.thaw();
    await client.delete(configMaps, { namespace: "apps", name: "a" }, gone.metadata.uid!);
    for (let index = 0; index < 50; index++) {
      await client.apply(configMaps, configMap("d", { index: String(index) }));
    }
    await kube.compact();
    await kube.restart();
    await eventually(() => !has("a"), "the deletion", patienceMs);
    assert.deepEqual(told.filter((line) => line.startsWith("gone")), ["gone apps/a"]);
    assert.ok(metrics.lists <= 3, `${metrics.lists} lists`);
    close();
  },
);

kubeTest(
  "an apply that changes nothing writes nothing, and other managers' fields stay",
  async (kube) => {
    const { client, close } = kube.client();
    const other = kube.client({ fieldManager: "other" });
    await client.create(namespaces, { metadata: { name: "apps" } });
    const first = await client.apply(configMaps, configMap("a", { ours: "1" }));
    await other.client.apply(configMaps, configMap("a", { theirs: "2" }));
    const second = await client.apply(configMaps, configMap("a", { ours: "1" }));
    const third = await client.apply(configMaps, configMap("a", { ours: "1" }));
    assert.equal(second.metadata.resourceVersion, third.metadata.resourceVersion);
    assert.notEqual(first.metadata.resourceVersion, second.metadata.resourceVersion);
    assert.deepEqual(third["data"], { ours: "1", theirs: "2" });
    const left = await client.apply(configMaps, configMap("a"));
    assert.deepEqual(left["data"], { theirs: "2" });
    close();
    other.close();
  },
);

kubeTest(
  "an Event's note is cut where the API server takes it, whatever its characters",
  async (kube) => {
    const { client, close } = kube.client();
    await client.create(namespaces, { metadata: { name: "apps" } });
    const object = await client.create(configMaps, configMap("a"));
    const log = keptLog();
    const recorder = new EventRecorder({
      client,
      controller: "culvert.dev/test",
      instance: "x",
      log,
    });
    const notes = ["x", "\u00e9", "\u20ac", "\u{1f600}", "x\u{1f600}"].map((text) =>
      text.repeat(1_100)
    );
    for (const note of notes) {
      const text = { type: "Warning", action: "Try", reason: "Long", note } as const;
      await recorder.report(configMaps, object, text);
    }
    const { items } = await client.list(events, { namespace: "apps" });
    const kept = items.map(({ note }) => String(note));
    assert.equal(kept.length, notes.length, JSON.stringify(log.lines));
    for (const note of notes) {
      const cut = kept.find((it) => note.startsWith(it))!;
      assert.ok(cut.length > 200 && cut.isWellFormed(), cut);
    }
    close();
  },
);

kubeTest("an apply with a field that its kind does not have is not repeated", async (kube) => {
  const { client, close } = kube.client();
  await client.create(namespaces, { metadata: { name: "apps" } });
  const container = { name: "a", image: "a" };
  const put = (spec: object) =>
    client.apply(deployments, {
      metadata: { name: "a", namespace: "apps" },
      spec: {
        selector: { matchLabels: { a: "a" } },
        template: {
          metadata: { labels: { a: "a" } },
          spec: { containers: [container], ...spec },
        },
      },
    });
  for (const spec of [{ affinity: { near: [] } }, { tolerations: [{ taint: 1 }] }]) {
    await assert.rejects(put(spec), (error: Error) => {
      assert.match(error.message, /field not declared in schema/);
      return isPermanent(error);
    });
  }
  close();
});
