/** A replica that leads again: what it knew may be of before another one led. */
import { deepEqual } from "node:assert/strict";
import { clusters } from "../../lib/operator/api/crds.ts";
import { secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { Hub } from "./hub.ts";

const [first, second] = ["culvert-relay-clusters", "culvert-relay-clusters-2"] as const;

Deno.test("an entry that another replica wrote to a further Secret goes with its Cluster", async () => {
  const hub = new Hub();
  for (const name of ["edge-1", "edge-2"]) hub.putCluster(name);
  await using it = hub.start({ relayAdminUrl: undefined });
  for (const name of ["edge-1", "edge-2"]) await hub.condition(name, "Ready", "Ready");
  await it.resign();
  const there = hub.kube.read(secrets, "hub", first)!;
  const { "edge-1.json": moved = "", ...rest } = there["data"] as Record<string, string>;
  hub.kube.put(secrets, { ...there, data: rest });
  const { name: _, ...metadata } = there.metadata;
  hub.kube.put(secrets, {
    ...there,
    metadata: { name: second, namespace: "hub", labels: metadata.labels ?? {} },
    data: { "edge-1.json": moved },
  });
  it.lead();
  hub.kube.remove(clusters, "hub", "edge-1");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  const entries = () =>
    [first, second].flatMap((name) => Object.keys(hub.secret("hub", name) ?? {}));
  await eventually(
    () => JSON.stringify(entries()) === '["edge-2.json"]',
    () => `the entry to go; there are ${entries()}`,
  );
  deepEqual(hub.secret("hub", second), {});
});
