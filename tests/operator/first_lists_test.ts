/** First lists of the API server that leave out one object: what it is for stays as it is. */
import { deepEqual, equal, match } from "node:assert/strict";
import { type Resource, services } from "../../lib/kube/resources.ts";
import type { KubeObject } from "../../lib/kube/objects.ts";
import { accessPolicies, tunnelBindings } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, conditionsOf, route, type Wrap } from "./harness.ts";

/** Has all lists of a kind leave out an object; the watches after them have no news of it. */
function withoutIn(resource: Resource, name: string): NonNullable<Wrap["kube"]> {
  return (fetch) => async (path, init) => {
    const response = await fetch(path, init);
    if (!new RegExp(`/${resource.plural}\\?(?!.*watch=)`).test(path)) return response;
    const list = await response.json();
    const isShown = ({ metadata }: KubeObject) => metadata.name !== name;
    return Response.json({ ...list, items: list.items.filter(isShown) });
  };
}

Deno.test("an AccessPolicy that the first list leaves out: nothing is published without it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ defaultPolicy: "public" });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  for (const [name, binding] of [["staff", "shop"], ["listed", "another"]]) {
    cluster.kube.put(accessPolicies, {
      metadata: { name: name!, namespace: "apps" },
      spec: { targetRefs: [{ name: binding }], any: [{ emailDomain: "example.com" }] },
    });
  }
  const policies: string[] = [];
  await using _ = cluster.start({
    kube: withoutIn(accessPolicies, "staff"),
    relay: (fetch) => (url, init, tls) => {
      const isPut = init.method === "PUT" && url.includes("/services/");
      if (isPut) policies.push(String(JSON.parse(init.body!).policy));
      return fetch(url, init, tls);
    },
  });
  await cluster.ready(tunnelBindings, "shop");
  equal(policies.length > 0, true);
  for (const policy of policies) match(policy, /^ops-/);
});

Deno.test("a Service that the first list leaves out stays at the relay", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putService("other");
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  {
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "shop");
  }
  // A binding whose condition a pass of the next operator has to write.
  cluster.putBinding("later", [route("main", "later.example.com")]);
  await using _ = cluster.start({ kube: withoutIn(services, "web") });
  await cluster.ready(tunnelBindings, "later");
  deepEqual(cluster.relay.writes.filter((call) => call.startsWith("DELETE")), []);
  equal(cluster.relay.services.size, 2);
});

Deno.test("a TunnelBinding that the first list leaves out keeps its hostname and its targets", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  {
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "shop");
  }
  const targets = cluster.targets();
  equal(targets.length, 1);
  cluster.putBinding("younger", [route("main", "shop.example.com")]);
  await using _ = cluster.start({ kube: withoutIn(tunnelBindings, "shop") });
  const reason = () =>
    conditionsOf(cluster.kube.read(tunnelBindings, "apps", "younger"))
      .find(({ type }) => type === "Accepted")?.reason;
  await eventually(() => reason() !== undefined, "the younger binding's condition");
  equal(reason(), "Conflicted");
  deepEqual(cluster.targets(), targets);
});
