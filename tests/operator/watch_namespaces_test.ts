/** What an operator knows that works in several namespaces, and in no others. */
import assert from "node:assert/strict";
import { KubeClient } from "../../lib/kube/client.ts";
import { services } from "../../lib/kube/resources.ts";
import { World } from "../../lib/operator/world.ts";
import { keptLog, quickTiming } from "../kube/kube_setup.ts";
import { eventually } from "../support/deadline.ts";
import { FakeKube } from "../support/fake_kube.ts";

Deno.test("what was learned of a write is known once, and is forgotten when it is gone", async () => {
  const kube = new FakeKube([services]);
  const world = new World({
    client: new KubeClient({ fetch: kube.fetch, fieldManager: "test" }),
    watchNamespaces: ["ops", "apps"],
    kinds: ["services"],
    ...{ changed() {}, log: keptLog(), timing: quickTiming },
  });
  const names = () => [...world.values("services")].map(({ metadata }) => metadata.name);
  // The answer to a write may come before the watch has the object.
  world.learn("services", kube.put(services, { metadata: { name: "web", namespace: "apps" } }));
  world.learn("services", kube.put(services, { metadata: { name: "far", namespace: "infra" } }));
  assert.deepEqual(names(), ["web"]);
  const stop = new AbortController();
  const running = world.run(stop.signal);
  await world.synced();
  assert.deepEqual(names(), ["web"]);
  kube.remove(services, "apps", "web");
  await eventually(() => names().length === 0, () => `${names()} to be forgotten`);
  stop.abort();
  await running;
});
