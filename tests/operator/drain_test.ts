/** A drain beside reconcilers that only clean up: what it deletes, what it leaves, what it says. */
import assert from "node:assert/strict";
import { KubeClient } from "../../lib/kube/client.ts";
import { EventRecorder } from "../../lib/kube/events.ts";
import { events, type Resource, secrets } from "../../lib/kube/resources.ts";
import {
  clusters,
  clusterTunnels,
  registrationTokens,
  tunnelBindings,
  tunnels,
} from "../../lib/operator/api/crds.ts";
import { finalizer } from "../../lib/operator/api/schema.ts";
import type { DrainPolicy } from "../../lib/config/commands/drain_options.ts";
import { Drain, leftText } from "../../lib/operator/drain.ts";
import { keptSecretName } from "../../lib/operator/relay/kept_texts.ts";
import type { Operator } from "../../lib/operator/operator.ts";
import { keptLog } from "../kube/kube_setup.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, route } from "./harness.ts";
import { Hub } from "./hub.ts";

function drainOf(
  { kube }: Cluster,
  policy: DrainPolicy,
  operator: Operator | undefined = undefined,
  namespaces: readonly string[] = [],
) {
  const log = keptLog();
  const client = new KubeClient({ fetch: kube.fetch, fieldManager: "culvert-operator" });
  const drain = new Drain({
    ...{ client, policy, namespaces, log },
    homes: [],
    forget: async (namespace) => await operator?.forget(namespace),
    kinds: [tunnelBindings, tunnels, clusterTunnels],
    events: new EventRecorder({ client, controller: "culvert.dev/operator", instance: "x", log }),
    pollMs: 10,
  });
  return { drain, log };
}

const never = new AbortController().signal;

/** A tunnel with a binding and an annotated Service, all published; no operator runs any more. */
async function published(): Promise<Cluster> {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("shop", "shop.example.com")]);
  cluster.putService("annotated", {
    annotations: { "culvert.dev/tunnel": "home", "culvert.dev/hostname": "web.example.com" },
  });
  await using _ = cluster.start();
  await cluster.ready();
  await cluster.ready(tunnelBindings, "shop");
  await cluster.ready(tunnelBindings, "service-annotated");
  return cluster;
}

function held(cluster: Cluster, resource: Resource, name: string): readonly string[] | undefined {
  return cluster.kube.read(resource, "apps", name)?.metadata.finalizers;
}

/** Credentials that are kept for clean-up. */
function keptSecrets({ kube }: Cluster): readonly string[] {
  return kube.all(secrets).map(({ metadata }) => metadata.name)
    .filter((name) => name === keptSecretName("apps"));
}

Deno.test("a drain that deletes leaves nothing at the relay, and no binding comes back", async () => {
  const cluster = await published();
  await using _ = cluster.start({ isDraining: true });
  const { drain } = drainOf(cluster, "delete");
  assert.deepEqual(await drain.run(never), []);
  const { kube, relay } = cluster;
  assert.deepEqual([...relay.clusters.keys(), ...relay.services.keys()], []);
  assert.deepEqual([...kube.all(tunnels), ...kube.all(tunnelBindings)], []);
});

Deno.test("a drain that retains takes the finalizers off alone, and the next operator goes on", async () => {
  const cluster = await published();
  const { kube, relay } = cluster;
  const before = JSON.stringify([[...relay.clusters], [...relay.services]]);
  {
    assert.equal(keptSecrets(cluster).length, 1);
    await using draining = cluster.start({ isDraining: true });
    assert.deepEqual(await drainOf(cluster, "retain", draining.operator).drain.run(never), []);
    assert.deepEqual(keptSecrets(cluster), []);
  }
  for (const [resource, name] of [[tunnels, "home"], [tunnelBindings, "shop"]] as const) {
    assert.deepEqual(held(cluster, resource, name), []);
  }
  assert.equal(JSON.stringify([[...relay.clusters], [...relay.services]]), before);
  await using _ = cluster.start();
  for (const [resource, name] of [[tunnels, "home"], [tunnelBindings, "shop"]] as const) {
    await eventually(
      () => held(cluster, resource, name)?.includes(finalizer) === true,
      `the finalizer of ${name}`,
    );
  }
  kube.remove(tunnelBindings, "apps", "shop");
  await eventually(() => !relay.services.has("apps-shop-shop") && relay.services.size === 1, "one");
});

Deno.test("what was being deleted is cleaned up by a drain that retains", async () => {
  const cluster = await published();
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await using _ = cluster.start({ isDraining: true });
  assert.deepEqual(await drainOf(cluster, "retain").drain.run(never), []);
  assert.equal(cluster.kube.read(tunnelBindings, "apps", "shop"), undefined);
  assert.equal(cluster.relay.services.size, 1);
});

Deno.test("what can't be cleaned up is named with its reason, and let go with an Event if forced", async () => {
  const cluster = await published();
  const unreachable = () => Promise.reject(new TypeError("connection refused"));
  await using _ = cluster.start({ isDraining: true, relay: () => unreachable });
  const { drain, log } = drainOf(cluster, "delete");
  const late = new AbortController();
  const running = drain.run(late.signal);
  await eventually(
    () => log.lines.some((line) => line.includes("Waiting for an object")),
    "the drain to say what it waits for",
  );
  late.abort();
  const left = await running;
  assert.match(leftText(left), /TunnelBinding apps\/shop \(may still have service .* at https:/);
  assert.match(leftText(left), /Tunnel apps\/home \(/);
  await drain.force(left);
  const { kube } = cluster;
  assert.deepEqual([...kube.all(tunnels), ...kube.all(tunnelBindings)], []);
  const reported = kube.all(events).filter(({ reason }) => reason === "Orphaned");
  assert.deepEqual(
    reported.map(({ regarding }) => (regarding as { kind: string }).kind).sort(),
    ["Tunnel", "TunnelBinding", "TunnelBinding"],
  );
});

Deno.test("a drain leaves other namespaces, other finalizers and unknown kinds alone", async () => {
  const cluster = new Cluster();
  const finalizers = ["example.com/other", finalizer];
  for (const namespace of ["apps", "ops"]) {
    const spec = cluster.putTunnel({}, "home", namespace)["spec"];
    cluster.kube.put(tunnels, { metadata: { name: "home", namespace, finalizers }, spec });
  }
  const { drain } = drainOf(cluster, "retain", undefined, ["apps"]);
  const found = await drain.find();
  assert.deepEqual(found.map(({ object }) => object.metadata.namespace), ["apps"]);
  assert.deepEqual(await drain.run(never), []);
  const finalizersIn = (namespace: string) =>
    cluster.kube.read(tunnels, namespace, "home")!.metadata.finalizers;
  assert.deepEqual(finalizersIn("apps"), ["example.com/other"]);
  assert.deepEqual(finalizersIn("ops"), finalizers);
  cluster.kube.intercept = ({ path }) =>
    path.includes("culvert.dev") ? new Response("{}", { status: 404 }) : undefined;
  assert.deepEqual(await drainOf(cluster, "delete").drain.run(never), []);
});

Deno.test("a watched namespace that is gone, and its Roles with it, does not end a drain", async () => {
  const cluster = await published();
  cluster.kube.intercept = ({ path }) =>
    path.includes("/namespaces/gone/") ? new Response("{}", { status: 403 }) : undefined;
  const { drain, log } = drainOf(cluster, "retain", undefined, ["gone", "apps"]);
  assert.deepEqual(await drain.run(never), []);
  assert.deepEqual(held(cluster, tunnels, "home"), []);
  assert.match(log.lines.join("\n"), /Not permitted to list .*"namespace":"gone"/);
});

/** A hub with a Cluster of each kind in Argo CD, after an operator that has gone. */
async function hubWithClusters(): Promise<Hub> {
  const hub = new Hub();
  hub.putToken("edge");
  hub.putCluster("own");
  hub.relay.clusters.set("edge-1", {
    ...{ owner: "edge/main", accepted: true, registeredBy: "edge" },
  });
  await using _ = hub.start();
  await hub.condition("own", "ArgoCDReady", "Synced");
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  return hub;
}

function drainOfHub(
  { kube }: Hub,
  policy: DrainPolicy,
  { management, log }: ReturnType<Hub["start"]>,
): Drain {
  const client = new KubeClient({ fetch: kube.fetch, fieldManager: "culvert-operator" });
  return new Drain({
    ...{ client, policy, namespaces: [], log, pollMs: 10 },
    kinds: [registrationTokens, clusters],
    events: new EventRecorder({ client, controller: "culvert.dev/clusters", instance: "x", log }),
    homes: ["hub"],
    forget: async (namespace) => {
      if (policy === "delete") await management.forget(namespace);
    },
  });
}

Deno.test("beside a relay, a drain that deletes leaves neither Clusters nor Secrets for relay and Argo CD", async () => {
  const hub = await hubWithClusters();
  await using running = hub.start({}, { isDraining: true });
  assert.deepEqual(await drainOfHub(hub, "delete", running).run(never), []);
  const { kube, relay } = hub;
  assert.deepEqual([...kube.all(clusters), ...kube.all(registrationTokens)], []);
  assert.deepEqual([...relay.clusters.keys()], []);
  const theirs = kube.all(secrets).map(({ metadata }) => metadata.name)
    .filter((name) => name.startsWith("culvert-"));
  assert.deepEqual(theirs, []);
});

Deno.test("beside a relay, a drain that retains leaves relay and Argo CD as they are", async () => {
  const hub = await hubWithClusters();
  const { kube, relay } = hub;
  const before = JSON.stringify([kube.all(secrets), [...relay.clusters]]);
  await using running = hub.start({}, { isDraining: true });
  assert.deepEqual(await drainOfHub(hub, "retain", running).run(never), []);
  for (const { metadata } of kube.all(clusters)) assert.deepEqual(metadata.finalizers ?? [], []);
  assert.equal(JSON.stringify([kube.all(secrets), [...relay.clusters]]), before);
});

Deno.test("a Cluster that Applications use is named, and let go if the drain is forced", async () => {
  const hub = await hubWithClusters();
  hub.putApplication("guestbook", { name: "own" });
  await using running = hub.start({}, { isDraining: true });
  const drain = drainOfHub(hub, "delete", running);
  const late = new AbortController();
  const draining = drain.run(late.signal);
  await hub.condition("own", "ArgoCDReady", "InUse");
  late.abort();
  const left = await draining;
  assert.match(leftText(left), /Cluster hub\/own \(InUse: 1 Application uses the cluster/);
  await drain.force(left);
  assert.deepEqual(hub.kube.all(clusters), []);
  assert.ok(hub.secret("argocd", "culvert-cluster-own"));
});
