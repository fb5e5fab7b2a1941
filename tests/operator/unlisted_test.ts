/**
 * Lists of the API server that leave something out when the operator starts, and watches that do not
 * show it either: nothing is taken away.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { clusters, registrationTokens } from "../../lib/operator/api/crds.ts";
import { argocdApplications } from "../../lib/operator/management/argocd.ts";
import { type Resource, secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { Hub } from "./hub.ts";

/** Clusters, RegistrationTokens, Argo CD's Secrets and Applications, ClusterProfiles. */
const kinds = 5;

/** Has lists of a kind leave out all objects but one. */
function hide(
  hub: Hub,
  resource: Resource,
  { but, lists = Infinity }: { readonly but?: string; readonly lists?: number } = {},
): void {
  const { plural, group, version, kind } = resource;
  let count = 0;
  hub.kube.intercept = ({ method, path, query }) => {
    const isFirstWatch = path.endsWith(`/${plural}`) && query.get("resourceVersion") === "0";
    if (isFirstWatch && lists === Infinity) return new Response("");
    const isList = method === "GET" && path.endsWith(`/${plural}`) && !query.has("watch");
    if (!isList || ++count > lists) return undefined;
    // Watches go on from here, so they don't tell of what is hidden.
    const { resourceVersion } = hub.kube.put(secrets, {
      metadata: { name: "newest", namespace: "elsewhere" },
    }).metadata;
    const metadata = { resourceVersion };
    return Response.json({
      apiVersion: `${group}/${version}`,
      kind: `${kind}List`,
      metadata,
      items: hub.kube.all(resource).filter((item) => item.metadata.name === but),
    });
  };
}

/** What each write of a Secret had it hold. */
function written(hub: Hub, name: string): string[][] {
  return hub.kube.writes.filter(({ path }) => path.endsWith(`/secrets/${name}`))
    .map(({ body = "{}" }) => Object.values(JSON.parse(body).data as Record<string, string>))
    .map((texts) => texts.map((text) => atob(text)));
}

Deno.test("Clusters that the first list leaves out keep their entries", async () => {
  const hub = new Hub();
  hub.putCluster("edge-0");
  hub.putCluster("edge-1");
  hub.putCluster("edge-2", { id: "another-id" });
  {
    await using _ = hub.start({ relayAdminUrl: undefined });
    for (const name of ["edge-0", "edge-1", "edge-2"]) await hub.condition(name, "Ready", "Ready");
  }
  const before = hub.entries();
  const count = written(hub, "culvert-relay-clusters").length;
  hide(hub, clusters, { but: "edge-0" });
  await using _ = hub.start({ relayAdminUrl: undefined });
  await eventually(() => hub.kube.openWatches === kinds, "all to be listed");
  hub.putCluster("edge-3");
  await eventually(() => "edge-3" in hub.entries(), "the entry of the new one");
  for (const texts of written(hub, "culvert-relay-clusters").slice(count)) {
    for (const entry of Object.values(before)) ok(texts.includes(`${JSON.stringify(entry)}\n`));
  }
  hub.putCluster("edge-1", { accepted: false });
  await eventually(() => !("edge-1" in hub.entries()), "a change of it to be followed");
});

Deno.test("RegistrationTokens that the first list leaves out stay at the relay", async () => {
  const hub = new Hub();
  hub.putToken("edge");
  hub.putToken("listed");
  {
    await using _ = hub.start();
    for (const name of ["edge", "listed"]) {
      await hub.condition(name, "Ready", "Ready", registrationTokens);
    }
  }
  const count = written(hub, "culvert-relay-admin-tokens").length;
  hide(hub, registrationTokens, { but: "listed" });
  await using _ = hub.start();
  await eventually(() => hub.kube.openWatches === kinds, "all to be listed");
  hub.putToken("more");
  await eventually(() => hub.adminTokens().length === 4, "the new token");
  for (const [text = ""] of written(hub, "culvert-relay-admin-tokens").slice(count)) {
    ok(text.includes('"edge"'), text);
  }
});

Deno.test("Applications that the first list leaves out keep a Cluster that they use", async () => {
  const hub = new Hub();
  hub.putCluster("edge-1");
  {
    await using _ = hub.start({ relayAdminUrl: undefined });
    await hub.condition("edge-1", "Ready", "Ready");
  }
  hub.putApplication("app", { name: "edge-1" });
  hide(hub, argocdApplications, { lists: 1 });
  hub.kube.remove(clusters, "hub", "edge-1");
  await using _ = hub.start({ relayAdminUrl: undefined });
  await hub.condition("edge-1", "ArgoCDReady", "InUse");
  ok(hub.secret("argocd", "culvert-cluster-edge-1"));
  deepEqual(Object.keys(hub.entries()), ["edge-1"]);
  hub.kube.remove(argocdApplications, "argocd", "app");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  equal(hub.secret("argocd", "culvert-cluster-edge-1"), undefined);
});
