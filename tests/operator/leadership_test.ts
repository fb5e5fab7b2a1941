/** A replica that leads again: what it knew may be of before another one led. */
import { deepEqual } from "node:assert/strict";
import { clusters, tunnelBindings } from "../../lib/operator/api/crds.ts";
import { secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, route } from "./harness.ts";
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

Deno.test("a credential that another replica has replaced does not come back", async () => {
  const cluster = new Cluster();
  const putSecret = (token: string) =>
    cluster.kube.put(secrets, {
      metadata: { name: "shop-token", namespace: "apps", labels: { "culvert.dev/use": "true" } },
      data: { token: btoa(token) },
    });
  putSecret("first-token");
  cluster.putTunnel();
  const authorization = { secretRef: { name: "shop-token" } };
  cluster.putBinding("shop", [route("main", "shop.example.com", { authorization })]);
  const written: string[] = [];
  await using it = cluster.start({
    kube: (fetch) => (path, init) => {
      if (init.method === "PATCH" && path.includes("/home-agent-credentials")) {
        const { data } = JSON.parse(init.body!) as { data: Record<string, string> };
        written.push(...Object.values(data).map(atob));
      }
      return fetch(path, init);
    },
  });
  await cluster.ready(tunnelBindings, "shop");
  await it.resign();
  putSecret("second-token");
  it.lead();
  await eventually(() => written.at(-1) === "second-token", "the second token");
  await eventually(() => it.operator.isSettled, "the operator to settle");
  await it.resign();
  putSecret("third-token");
  const copy = cluster.kube.read(secrets, "apps", "home-agent-credentials")!;
  const [file = ""] = Object.keys(copy["data"] as object);
  cluster.kube.put(secrets, { ...copy, data: { [file]: btoa("third-token") } });
  it.lead();
  await eventually(() => written.at(-1) === "third-token", "the third token");
  deepEqual(written, ["first-token", "second-token", "third-token"]);
});
