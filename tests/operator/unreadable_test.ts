/** Secrets, ConfigMaps and namespaces that the API server can't read: only what depends on them waits. */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { clusterTunnels, tunnelBindings } from "../../lib/operator/api/crds.ts";
import type { BindingStatus } from "../../lib/operator/api/tunnel_binding.ts";
import { configMaps, secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, route, tunnelSpec, withoutNamespace, type Wrap } from "./harness.ts";

const failure = { kind: "Status", code: 500, reason: "InternalError", message: "no key for it" };

/** An API server that answers each GET of these paths with status 500 while it is broken. */
function broken(paths: readonly string[]): Wrap & { isBroken: boolean } {
  const state: Wrap & { isBroken: boolean } = {
    isBroken: true,
    kube: (fetch) => async (path, init) =>
      state.isBroken && init.method === "GET" && paths.some((it) => path.endsWith(it))
        ? Response.json(failure, { status: 500 })
        : await fetch(path, init),
  };
  return state;
}

const authorization = { secretRef: { name: "shop-token", key: "token" } };
const tls = { caRef: { kind: "ConfigMap", name: "shop-ca", key: "ca.crt" } };

/** Two bindings that need a Secret and a ConfigMap, and one with a path at a hostname of the first. */
async function published(): Promise<Cluster> {
  const cluster = new Cluster();
  cluster.kube.put(secrets, {
    metadata: { name: "shop-token", namespace: "apps", labels: { "culvert.dev/use": "true" } },
    data: { token: btoa("token-of-the-shop") },
  });
  cluster.kube.put(configMaps, {
    metadata: { name: "shop-ca", namespace: "apps" },
    data: { "ca.crt": "PEM of a CA" },
  });
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com", { authorization })]);
  cluster.putBinding("tls", [route("main", "tls.example.com", { protocol: "https", tls })]);
  const path = { type: "Prefix", value: "/more" };
  cluster.putBinding("more", [route("main", "shop.example.com", { path })]);
  await using running = cluster.start();
  for (const name of ["shop", "tls", "more"]) await cluster.ready(tunnelBindings, name);
  await eventually(() => running.operator.isSettled, "the operator to settle");
  return cluster;
}

function servicesOf(cluster: Cluster, name: string): readonly string[] {
  const { status } = cluster.kube.read(tunnelBindings, "apps", name)!;
  return ((status ?? {}) as BindingStatus).registered?.map(({ service }) => service) ?? [];
}

/** What agents have. */
function agentsHave(cluster: Cluster) {
  const routes = cluster.kube.read(configMaps, "apps", "home-routes")!;
  const credentials = cluster.kube.read(secrets, "apps", "home-agent-credentials")!;
  return { data: routes["data"], credentials: credentials["data"] };
}

Deno.test("a Secret and a ConfigMap that can't be read leave their routes as they are, and hold up no other", async () => {
  const cluster = await published();
  const before = agentsHave(cluster);
  const services = new Map(cluster.relay.services);
  const calls = cluster.relay.calls.length;
  const state = broken(["/secrets/shop-token", "/configmaps/shop-ca"]);
  await using _ = cluster.start(state);
  const reasons = { shop: "CredentialUnreadable", tls: "CaUnreadable" };
  for (const [name, reason] of Object.entries(reasons)) {
    const { status, message } = await cluster.condition(
      tunnelBindings,
      name,
      "ResolvedRefs",
      reason,
    );
    assert.equal(status, "Unknown");
    assert.match(message, /shop-(token|ca) can't be read.*no key for it/);
  }
  cluster.putBinding("late", [route("main", "late.example.com")]);
  await cluster.ready(tunnelBindings, "late");
  const after = agentsHave(cluster);
  const withoutLate = cluster.targets().filter(({ name }) =>
    !servicesOf(cluster, "late").includes(String(name))
  );
  const { targets } = JSON.parse((before.data as Record<string, string>)["targets.yaml"]!);
  assert.deepEqual(withoutLate, targets);
  assert.deepEqual(after.credentials, before.credentials);
  const files = (data: unknown) => ({ ...data as object, "targets.yaml": undefined });
  assert.deepEqual(files(after.data), files(before.data));
  assert.deepEqual(cluster.relay.calls.slice(calls).filter((it) => it.startsWith("DELETE")), []);
  for (const [name, entry] of services) assert.deepEqual(cluster.relay.services.get(name), entry);

  // Whom the relay lets in is no part of what can't be read.
  const strict = { authorization, policy: "admins" };
  cluster.putBinding("shop", [route("main", "shop.example.com", strict)]);
  cluster.putBinding("more", [route("main", "shop.example.com", {
    path: { type: "Prefix", value: "/more" },
    policy: "admins",
  })]);
  const [service] = servicesOf(cluster, "shop");
  await eventually(
    () => (cluster.relay.services.get(service!) as { policy?: string }).policy === "admins",
    "the policy of the route",
  );
  state.isBroken = false;
  for (const name of ["shop", "tls", "more"]) await cluster.ready(tunnelBindings, name);
  assert.deepEqual(agentsHave(cluster).credentials, before.credentials);
});

Deno.test("a table that has lost its label keeps the routes that can't be read", async () => {
  const cluster = await published();
  const before = agentsHave(cluster);
  await using running = cluster.start(broken(["/secrets/shop-token", "/configmaps/shop-ca"]));
  await cluster.condition(tunnelBindings, "shop", "ResolvedRefs", "CredentialUnreadable");
  await eventually(() => running.operator.isSettled, "the operator to settle");
  const label = "app.kubernetes.io/managed-by";
  const routes = () => cluster.kube.read(configMaps, "apps", "home-routes")!;
  const { labels = {}, ...metadata } = routes().metadata;
  const { [label]: _, ...others } = labels;
  cluster.kube.put(configMaps, { ...routes(), metadata: { ...metadata, labels: others } });
  await eventually(() => routes().metadata.labels?.[label] !== undefined, "the label to return");
  assert.deepEqual(agentsHave(cluster), before);
});

Deno.test("what somebody deletes or changes meanwhile returns with the routes that can't be read", async () => {
  const cluster = await published();
  const before = agentsHave(cluster);
  await using running = cluster.start(broken(["/secrets/shop-token", "/configmaps/shop-ca"]));
  await cluster.condition(tunnelBindings, "shop", "ResolvedRefs", "CredentialUnreadable");
  await cluster.condition(tunnelBindings, "tls", "ResolvedRefs", "CaUnreadable");
  await eventually(() => running.operator.isSettled, "the operator to settle");
  const routes = () => cluster.kube.read(configMaps, "apps", "home-routes");
  const isBack = () =>
    routes() !== undefined &&
    cluster.kube.read(secrets, "apps", "home-agent-credentials") !== undefined &&
    isDeepStrictEqual(agentsHave(cluster), before);
  cluster.kube.remove(secrets, "apps", "home-agent-credentials");
  cluster.kube.remove(configMaps, "apps", "home-routes");
  await eventually(isBack, "what was deleted");
  cluster.kube.put(configMaps, { ...routes()!, data: { "targets.yaml": '{"targets":[]}' } });
  await eventually(isBack, "what was changed");
});

Deno.test("a new route whose Secret can't be read is not published, and says so", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com", { authorization })]);
  await using running = cluster.start(broken(["/secrets/shop-token"]));
  await cluster.condition(tunnelBindings, "shop", "ResolvedRefs", "CredentialUnreadable");
  await cluster.ready();
  await eventually(() => running.operator.isSettled, "the operator to settle");
  assert.deepEqual([cluster.relay.services.size, cluster.targets().length], [0, 0]);
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await eventually(() => !cluster.kube.read(tunnelBindings, "apps", "shop"), "the binding to go");
});

Deno.test("a namespace that can't be read leaves its routes as they are, and holds up no other", async () => {
  const cluster = new Cluster();
  const allowedBindings = { namespaces: "All" };
  cluster.kube.put(clusterTunnels, {
    metadata: { name: "edge" },
    spec: tunnelSpec({ allowedBindings }),
  });
  const tunnelRef = { kind: "ClusterTunnel", name: "edge" };
  const put = (name: string, namespace: string, hostname: string) =>
    cluster.kube.put(tunnelBindings, {
      metadata: { name, namespace },
      spec: { tunnelRef, routes: [route("main", hostname)] },
    });
  put("shop", "apps", "shop.example.com");
  {
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "shop");
  }
  const targets = cluster.targets("edge-routes", "ops");
  let isBroken = true;
  await using running = cluster.start(
    withoutNamespace(async (next) =>
      isBroken ? Response.json(failure, { status: 500 }) : await next()
    ),
  );
  const { status } = await cluster.condition(
    tunnelBindings,
    "shop",
    "Accepted",
    "NamespaceUnreadable",
  );
  assert.equal(status, "Unknown");
  // Nobody else gets a hostname that may be its.
  cluster.kube.put(tunnelBindings, {
    metadata: { name: "rival", namespace: "infra" },
    spec: { tunnelRef, routes: [route("main", "shop.example.com")] },
  });
  cluster.putService("web", { metadata: { name: "web", namespace: "infra" } });
  put("other", "infra", "other.example.com");
  await cluster.ready(tunnelBindings, "other", "infra");
  await cluster.condition(tunnelBindings, "rival", "Accepted", "NamespaceUnreadable", "infra");
  await eventually(() => running.operator.isSettled, "the operator to settle");
  assert.equal(cluster.relay.services.size, 2);
  assert.deepEqual(
    cluster.targets("edge-routes", "ops").filter(({ address }) => address !== "web.infra.svc:80"),
    targets,
  );
  isBroken = false;
  await cluster.ready(tunnelBindings, "shop");
  await cluster.condition(tunnelBindings, "rival", "Accepted", "Conflicted", "infra");
});
