/** What goes with a deleted Tunnel, where no garbage collector runs. */
import assert from "node:assert/strict";
import {
  clusterRoles,
  configMaps,
  deployments,
  networkPolicies,
  podDisruptionBudgets,
  roleBindings,
  secrets,
  serviceAccounts,
} from "../../lib/kube/resources.ts";
import { tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { dnsEndpoints } from "../../lib/operator/dns/dns_endpoint.ts";
import { eventually } from "../support/deadline.ts";
import { failure } from "../support/fake_kube.ts";
import { Cluster, route, tunnelSpec } from "./harness.ts";

/** What Tunnel home may own, with all that it can have. */
function everyObject(cluster: Cluster): () => string[] {
  cluster.kube.hasGarbageCollector = false;
  cluster.kube.put(clusterRoles, { metadata: { name: "view" } });
  const { relay } = tunnelSpec() as { relay: Record<string, unknown> };
  cluster.putTunnel({
    relay,
    kubernetesApi: { clusterRole: "view" },
    agent: { replicas: 2, networkPolicy: { enabled: true } },
  });
  const kinds = [deployments, configMaps, secrets, podDisruptionBudgets, networkPolicies];
  return () =>
    [...kinds, roleBindings, serviceAccounts].flatMap((resource) =>
      cluster.kube.all(resource)
        .filter(({ metadata }) => metadata.ownerReferences?.some(({ kind }) => kind === "Tunnel"))
        .map(({ metadata }) => `${resource.kind} ${metadata.name}`)
    );
}

Deno.test("a deleted Tunnel's objects go before its finalizer, without a garbage collector", async () => {
  const cluster = new Cluster();
  const owned = everyObject(cluster);
  await using _ = cluster.start();
  await cluster.ready();
  assert.deepEqual(owned(), [
    "Deployment home-agent",
    "ConfigMap home-routes",
    "Secret home-agent-token",
    "PodDisruptionBudget home-agent",
    "NetworkPolicy home-agent",
    "RoleBinding home-agent",
    "ServiceAccount home-agent",
  ]);
  cluster.kube.put(secrets, { metadata: { name: "home-agent-credentials", namespace: "apps" } });
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  assert.deepEqual(owned(), []);
  assert.ok(cluster.kube.read(secrets, "apps", "home-agent-credentials"), "nobody's object stays");
});

Deno.test("an object that somebody else owns too is left to the garbage collector", async () => {
  const cluster = new Cluster();
  const owned = everyObject(cluster);
  await using _ = cluster.start();
  await cluster.ready();
  const [mine] = cluster.kube.read(configMaps, "apps", "home-routes")!.metadata.ownerReferences!;
  const other = { apiVersion: "v1", kind: "Service", name: "web", uid: "other" };
  cluster.kube.put(secrets, {
    metadata: {
      name: "home-agent-credentials",
      namespace: "apps",
      ownerReferences: [mine!, other],
    },
  });
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  assert.deepEqual(owned(), ["Secret home-agent-credentials"]);
});

Deno.test("a Tunnel that is deleted with --cascade=orphan leaves its objects", async () => {
  const cluster = new Cluster();
  const owned = everyObject(cluster);
  await using _ = cluster.start();
  await cluster.ready();
  const before = owned();
  const { metadata, ...tunnel } = cluster.kube.read(tunnels, "apps", "home")!;
  const finalizers = [...metadata.finalizers!, "orphan"];
  cluster.kube.put(tunnels, { ...tunnel, metadata: { ...metadata, finalizers } });
  cluster.kube.remove(tunnels, "apps", "home");
  await eventually(
    () => cluster.kube.read(tunnels, "apps", "home")!.metadata.finalizers!.join() === "orphan",
    "the operator's finalizer to go",
  );
  assert.deepEqual(owned(), before);
});

Deno.test("rights that the operator lacks for deletion don't hold a Tunnel", async () => {
  const cluster = new Cluster();
  const owned = everyObject(cluster);
  await using _ = cluster.start();
  await cluster.ready();
  cluster.kube.intercept = ({ method, path }) =>
    method === "DELETE" && path.includes("/configmaps/")
      ? failure(403, "Forbidden", "may not")
      : undefined;
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  assert.deepEqual(owned(), ["ConfigMap home-routes"]);
});

Deno.test("a deleted binding's DNSEndpoint goes before the binding", async () => {
  const cluster = new Cluster();
  cluster.kube.hasGarbageCollector = false;
  cluster.hasExternalDns = true;
  cluster.putTunnel({ dns: { provider: "ExternalDNS", target: "relay.example.com" } });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(cluster.kube.all(dnsEndpoints).length, 1);
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await cluster.gone(tunnelBindings, "shop");
  assert.deepEqual(cluster.kube.all(dnsEndpoints), []);
});
