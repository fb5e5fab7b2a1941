/** ClusterProfiles: how Clusters are in the cluster inventory. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { clusters, registrationTokens } from "../../lib/operator/api/crds.ts";
import { argocdApplications } from "../../lib/operator/management/argocd.ts";
import { clusterProfiles } from "../../lib/operator/management/cluster_profile.ts";
import type { KubeObject } from "../../lib/kube/objects.ts";
import { secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { failure } from "../support/fake_kube.ts";
import { conditionsOf, digest } from "./harness.ts";
import { Hub, relayUrl } from "./hub.ts";

const alone = { relayAdminUrl: undefined };
const on = { argocd: { enabled: false }, clusterProfile: {} };

function profile({ kube }: Hub, name = "edge-1", namespace = "fleet"): KubeObject | undefined {
  return kube.read(clusterProfiles, namespace, name);
}

function providersOf(hub: Hub): Record<string, unknown>[] {
  const { accessProviders } = profile(hub)!["status"] as {
    accessProviders: Record<string, unknown>[];
  };
  return accessProviders;
}

/** Takes away somebody's finalizer, so that the object goes. */
function letGo(hub: Hub, object: KubeObject): void {
  hub.kube.put(clusterProfiles, { ...object, metadata: { ...object.metadata, finalizers: [] } });
}

Deno.test("a Cluster is published as a ClusterProfile with its access, and no credential", async () => {
  const hub = new Hub();
  hub.kube.put(secrets, {
    metadata: { name: "relay-tls", namespace: "hub" },
    data: {
      ...{
        "ca.crt": btoa("a CA"),
        token: btoa("secret-token"),
        serverName: btoa("relay.internal"),
      },
      ...{ "tls.crt": btoa("CERT"), "tls.key": btoa("KEY") },
    },
  });
  await using _ = hub.start(alone);
  const clusterProfile = { displayName: "Edge 1", labels: { env: "edge", tier: "1" } };
  hub.putCluster("edge-1", { id: "Edge.1", ...on, clusterProfile });
  const { message } = await hub.condition("edge-1", "ClusterProfileReady", "Published");
  equal(message, "In ClusterProfile fleet/edge-1");
  await hub.condition("edge-1", "Ready", "Ready");
  const { metadata, spec } = profile(hub)! as unknown as KubeObject & { spec: unknown };
  deepEqual(metadata.labels, {
    ...{ env: "edge", tier: "1", "x-k8s.io/cluster-manager": "culvert" },
    ...{ "app.kubernetes.io/managed-by": "culvert-operator", "culvert.dev/owner": "hub.edge-1" },
  });
  deepEqual(spec, { clusterManager: { name: "culvert" }, displayName: "Edge 1" });
  const extension = { clusterName: "edge-1" };
  deepEqual(providersOf(hub), [{
    name: "culvert",
    cluster: {
      server: `${relayUrl}/tunnel/Edge.1`,
      "certificate-authority-data": btoa("a CA"),
      "tls-server-name": "relay.internal",
      extensions: [{ name: "client.authentication.k8s.io/exec", extension }],
    },
  }]);
  deepEqual(conditionsOf(profile(hub)), [], "nobody can say whether agents are connected");
  const status = hub.kube.read(clusters, "hub", "edge-1")!["status"] as Record<string, unknown>;
  equal(status["clusterProfile"], "fleet/edge-1");
  const text = JSON.stringify(profile(hub));
  for (const secret of ["secret-token", "CERT", "KEY"]) {
    for (const form of [secret, btoa(secret)]) equal(text.includes(form), false, form);
  }
});

Deno.test("a ClusterProfile follows its Cluster, the relay's CA and edits by hand", async () => {
  const hub = new Hub();
  await using _ = hub.start(alone);
  hub.putCluster("edge-1", { ...on, clusterProfile: { labels: { tier: "1" } } });
  await hub.condition("edge-1", "ClusterProfileReady", "Published");
  const { uid } = profile(hub)!.metadata;
  hub.putCluster("edge-1", { ...on, clusterProfile: { accessProvider: "secretreader" } });
  await eventually(() => providersOf(hub)[0]!["name"] === "secretreader", "another provider");
  equal(providersOf(hub).length, 1);
  await eventually(() => profile(hub)!.metadata.labels?.["tier"] === undefined, "the label to go");
  hub.kube.put(secrets, {
    metadata: { name: "relay-tls", namespace: "hub" },
    data: { "ca.crt": btoa("another CA") },
  });
  const server = () => providersOf(hub)[0]!["cluster"] as Record<string, unknown>;
  await eventually(
    () => server()["certificate-authority-data"] === btoa("another CA"),
    "the new CA",
  );
  hub.kube.put(clusterProfiles, {
    ...profile(hub)!,
    spec: { clusterManager: { name: "culvert" }, displayName: "edited" },
    status: {
      accessProviders: [{ name: "secretreader", cluster: { server: "https://elsewhere" } }],
    },
  });
  await eventually(() => server()["server"] === `${relayUrl}/tunnel/edge-1`, "the server");
  const spec = () => profile(hub)!["spec"] as Record<string, unknown>;
  await eventually(() => spec()["displayName"] === "edge-1", "the name");
  equal(profile(hub)!.metadata.uid, uid, "it stays the same");
  hub.kube.remove(clusterProfiles, "fleet", "edge-1");
  await eventually(() => profile(hub) !== undefined, "the ClusterProfile to come back");
});

Deno.test("ControlPlaneHealthy is True while agents are connected, and else Unknown", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putCluster("edge-1", on);
  hub.relay.clusters.set("edge-1", { source: "configuration" });
  const becomes = async (status: string, reason: string) => {
    const find = () =>
      conditionsOf(profile(hub)).find(({ type }) => type === "ControlPlaneHealthy");
    await eventually(
      () => find()?.reason === reason,
      () => `ControlPlaneHealthy to be ${reason}; it is ${JSON.stringify(find())}`,
      60_000,
    );
    equal(find()!.status, status);
  };
  await becomes("Unknown", "NotConnected");
  hub.relay.agents = [{ id: "s1", cluster: "edge-1", instance: "pod-a", since: "2026-11-30" }];
  await becomes("True", "AgentConnected");
  hub.relay.isAway = true;
  await becomes("Unknown", "RelayUnreachable");
});

Deno.test("nothing is written to a ClusterProfile while nothing changes, though others write to it", async () => {
  const hub = new Hub();
  await using running = hub.start();
  hub.putCluster("edge-1", on);
  hub.relay.clusters.set("edge-1", { source: "configuration" });
  hub.relay.agents = [{ id: "s1", cluster: "edge-1", instance: "pod-a", since: "2026-11-30" }];
  await hub.condition("edge-1", "Ready", "Ready");
  const { metadata, status, ...rest } = profile(hub)! as KubeObject & {
    status: { accessProviders: unknown[]; conditions: unknown[] };
  };
  const ofOthers = {
    accessProviders: [...status.accessProviders, { name: "gcp", cluster: { server: "https://g" } }],
    conditions: [...status.conditions, { type: "Joined", status: "True", reason: "Joined" }],
    properties: [{ name: "region", value: "eu" }],
  };
  const before = hub.kube.writes.length;
  hub.kube.put(clusterProfiles, {
    ...rest,
    metadata: { ...metadata, finalizers: ["argoproj.io/cluster-profile-finalizer"] },
    status: ofOthers,
  });
  // A later change of another Cluster has been worked on, and so has this one's.
  hub.putCluster("edge-2");
  await hub.condition("edge-2", "ArgoCDReady", "Synced");
  await eventually(() => running.management.isSettled, "the queue to be empty");
  const paths = hub.kube.writes.slice(before).map(({ path }) => path);
  deepEqual(paths.filter((path) => path.includes("clusterprofiles")), []);
  deepEqual(profile(hub)!["status"], ofOthers);
});

Deno.test("somebody else's ClusterProfile of the name is not touched, and in the way until it goes", async () => {
  const hub = new Hub();
  const foreign = {
    metadata: {
      ...{ name: "edge-1", namespace: "fleet" },
      labels: { "x-k8s.io/cluster-manager": "culvert" },
    },
    spec: { clusterManager: { name: "culvert" } },
  };
  const { metadata } = hub.kube.put(clusterProfiles, foreign);
  hub.putCluster("edge-1", on);
  await using _ = hub.start(alone);
  const { status, message } = await hub.condition("edge-1", "ClusterProfileReady", "Conflict");
  equal(status, "False");
  match(message, /ClusterProfile fleet\/edge-1 is there already and is not ours/);
  equal(profile(hub)!.metadata.resourceVersion, metadata.resourceVersion);
  hub.kube.remove(clusterProfiles, "fleet", "edge-1");
  await hub.condition("edge-1", "ClusterProfileReady", "Published");
  hub.kube.remove(clusterProfiles, "fleet", "edge-1");
  hub.kube.put(clusterProfiles, foreign);
  await hub.condition("edge-1", "ClusterProfileReady", "Conflict");
  hub.kube.remove(clusters, "hub", "edge-1");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  ok(profile(hub), "it stays");
});

Deno.test("a ClusterProfile goes with its Cluster, when it is not wanted, and when it is in another namespace", async () => {
  const hub = new Hub();
  await using _ = hub.start({ ...alone, clusterProfileNamespaces: ["fleet", "other"] });
  const published = () => hub.condition("edge-1", "ClusterProfileReady", "Published");
  hub.putCluster("edge-1", on);
  await published();
  hub.putCluster("edge-1", { ...on, clusterProfile: { namespace: "other" } });
  await eventually(() => !profile(hub), "the one in fleet to go");
  ok(profile(hub, "edge-1", "other"));
  hub.putCluster("edge-1", on);
  await eventually(() => !profile(hub, "edge-1", "other"), "the one in other to go");
  hub.putCluster("edge-1", { ...on, accepted: false });
  await hub.condition("edge-1", "ClusterProfileReady", "NotAccepted");
  equal(profile(hub), undefined);
  hub.putCluster("edge-1", on);
  await published();
  hub.putCluster("edge-1", { ...on, clusterProfile: { enabled: false } });
  await eventually(() => !profile(hub), "the ClusterProfile to go");
  hub.putCluster("edge-1", on);
  await published();
  // A reader's finalizer holds it up; the Cluster need not wait.
  const held = profile(hub)!;
  const finalizers = ["argoproj.io/cluster-profile-finalizer"];
  hub.kube.put(clusterProfiles, { ...held, metadata: { ...held.metadata, finalizers } });
  hub.kube.remove(clusters, "hub", "edge-1");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  ok(profile(hub)!.metadata.deletionTimestamp);
  letGo(hub, profile(hub)!);
  equal(profile(hub), undefined);
});

/** Makes the Secret that Argo CD's integration makes from a profile, with the profile's labels. */
function integrate(hub: Hub): void {
  const [{ cluster }] = providersOf(hub) as [{ cluster: { server: string } }];
  const { labels = {} } = profile(hub)!.metadata;
  hub.kube.put(secrets, {
    metadata: {
      ...{ name: "cluster-edge-1", namespace: "argocd" },
      labels: { ...labels, "argocd.argoproj.io/secret-type": "cluster" },
    },
    data: { name: btoa("edge-1"), server: btoa(cluster.server), config: btoa("{}") },
  });
}

Deno.test("a ClusterProfile through which Applications use the cluster stays until they are gone", async () => {
  const hub = new Hub();
  await using running = hub.start(alone);
  const use = () => hub.putApplication("shop", { name: "edge-1" });
  const leave = () => hub.kube.remove(argocdApplications, "argocd", "shop");
  const inUse = "1 Application uses the cluster: shop; it stays in Argo CD until they are gone";
  const cases: [string, () => void][] = [
    ["not wanted", () => hub.putCluster("edge-1", { ...on, clusterProfile: { enabled: false } })],
    ["not accepted", () => hub.putCluster("edge-1", { ...on, accepted: false })],
  ];
  for (const [name, change] of cases) {
    hub.putCluster("edge-1", on);
    await hub.condition("edge-1", "ClusterProfileReady", "Published");
    integrate(hub);
    use();
    await eventually(() => running.management.isSettled, "the Application to be known");
    change();
    equal((await hub.condition("edge-1", "ClusterProfileReady", "InUse")).message, inUse, name);
    ok(profile(hub), name);
    leave();
    await eventually(() => !profile(hub), `the ClusterProfile to go that is ${name}`);
  }
  hub.putCluster("edge-1", on);
  await hub.condition("edge-1", "ClusterProfileReady", "Published");
  use();
  hub.kube.remove(clusters, "hub", "edge-1");
  equal((await hub.condition("edge-1", "ArgoCDReady", "InUse")).message, inUse);
  ok(profile(hub));
  ok("edge-1" in hub.entries(), "the relay still has the entry");
  leave();
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  equal(profile(hub), undefined);
});

Deno.test("with keepWhileInUse: false, a ClusterProfile goes though Applications use it", async () => {
  const hub = new Hub();
  await using running = hub.start(alone);
  hub.putCluster("edge-1", { ...on, argocd: { enabled: false, keepWhileInUse: false } });
  await hub.condition("edge-1", "ClusterProfileReady", "Published");
  integrate(hub);
  hub.putApplication("shop", { name: "edge-1" });
  await eventually(() => running.management.isSettled, "the Application to be known");
  hub.kube.remove(clusters, "hub", "edge-1");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  equal(profile(hub), undefined);
});

Deno.test("a ClusterProfile of a Cluster that went without its finalizer goes, too", async () => {
  const hub = new Hub();
  {
    await using _ = hub.start(alone);
    hub.putCluster("edge-1", on);
    await hub.condition("edge-1", "ClusterProfileReady", "Published");
  }
  const cluster = hub.kube.read(clusters, "hub", "edge-1")!;
  hub.kube.put(clusters, { ...cluster, metadata: { ...cluster.metadata, finalizers: [] } });
  hub.kube.remove(clusters, "hub", "edge-1");
  await using _ = hub.start(alone);
  await eventually(() => !profile(hub), "the ClusterProfile to go");
});

Deno.test("without the kind ClusterProfile, a condition says so until it is installed; the rest works", async () => {
  const hub = new Hub();
  let isInstalled = false;
  hub.kube.intercept = ({ path }) =>
    path.includes("multicluster.x-k8s.io") && !isInstalled
      ? failure(404, "NotFound", "no such kind")
      : undefined;
  await using _ = hub.start(alone);
  hub.putCluster("edge-1", { ...on, argocd: { enabled: true } });
  const { message } = await hub.condition("edge-1", "ClusterProfileReady", "CRDMissing");
  match(message, /install the CRD of cluster-inventory-api/);
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  ok("edge-1" in hub.entries());
  hub.putCluster("edge-2", on);
  await hub.condition("edge-2", "ClusterProfileReady", "CRDMissing");
  hub.kube.remove(clusters, "hub", "edge-2");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-2"), "the Cluster to go");
  isInstalled = true;
  await hub.condition("edge-1", "ClusterProfileReady", "Published");
});

Deno.test("a ClusterProfile is only for the relay's Clusters, and only where the operator may make one", async () => {
  const hub = new Hub();
  await using _ = hub.start(alone);
  hub.putCluster("edge-1", { ...on, clusterProfile: { namespace: "kube-system" } });
  const { message } = await hub.condition("edge-1", "ClusterProfileReady", "NamespaceNotAllowed");
  equal(message, "--cluster-profile-namespaces has fleet");
  hub.kube.put(clusters, {
    metadata: { name: "edge-2", namespace: "shop" },
    spec: { ...on, tokens: [{ name: "first", sha256: digest("mine") }] },
  });
  const outside = () =>
    conditionsOf(hub.kube.read(clusters, "shop", "edge-2"))
      .find(({ type }) => type === "ClusterProfileReady");
  await eventually(() => outside()?.reason === "NamespaceNotAllowed", "the refusal");
  match(outside()!.message, /must be in the operator's namespace, hub/);
  deepEqual(hub.kube.all(clusterProfiles), []);
  hub.kube.remove(secrets, "hub", "relay-tls");
  hub.putCluster("edge-3", on);
  await hub.condition("edge-3", "ClusterProfileReady", "CredentialsMissing");
});

Deno.test("the ClusterProfile that a RegistrationToken asks for is that of the Clusters that register", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge", { argocd: { enabled: false }, clusterProfile: { labels: { env: "edge" } } });
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  hub.relay.clusters.set("edge-1", {
    ...{ owner: "edge/main", leaseSeconds: 600, accepted: true, registeredBy: "edge" },
    targetAddr: "kubernetes.default.svc:443",
  });
  await hub.condition("edge-1", "ClusterProfileReady", "Published");
  equal(profile(hub)!.metadata.labels?.["env"], "edge");
});
