/** What an operator knows that works in several namespaces, and in no others. */
import assert from "node:assert/strict";
import { KubeClient } from "../../lib/kube/client.ts";
import { services } from "../../lib/kube/resources.ts";
import { Caches } from "../../lib/operator/caches.ts";
import { keptLog, quickTiming } from "../kube/kube_setup.ts";
import { eventually } from "../support/deadline.ts";
import { FakeKube } from "../support/fake_kube.ts";

Deno.test("what was learned of a write is known once, and is forgotten when it is gone", async () => {
  const kube = new FakeKube([services]);
  const caches = new Caches({
    client: new KubeClient({ fetch: kube.fetch, fieldManager: "test" }),
    watchNamespaces: ["ops", "apps"],
    kinds: ["services"],
    ...{ changed() {}, log: keptLog(), timing: quickTiming },
  });
  const names = () => [...caches.values("services")].map(({ metadata }) => metadata.name);
  // The answer to a write may come before the watch has the object.
  caches.learn("services", kube.put(services, { metadata: { name: "web", namespace: "apps" } }));
  caches.learn("services", kube.put(services, { metadata: { name: "far", namespace: "infra" } }));
  assert.deepEqual(names(), ["web"]);
  const stop = new AbortController();
  const running = caches.run(stop.signal);
  await caches.synced();
  assert.deepEqual(names(), ["web"]);
  kube.remove(services, "apps", "web");
  await eventually(() => names().length === 0, () => `${names()} to be forgotten`);
  stop.abort();
  await running;
});
