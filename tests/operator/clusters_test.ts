/** Clusters: entries of the relay, and Argo CD's Secrets. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { clusters, tunnels } from "../../lib/operator/api/crds.ts";
import { clustersSecretNames } from "../../lib/operator/management/cluster_shards.ts";
import { argocdApplications } from "../../lib/operator/management/argocd.ts";
import { events, pods, secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { clusterSpec } from "../../lib/operator/api/cluster.ts";
import { Cluster as Edge, digest } from "./harness.ts";
import { Hub, relayUrl } from "./hub.ts";

const secretName = "culvert-cluster-edge-1";

Deno.test("a Cluster becomes a file of the relay's clusters, and the relay's pods are told", async () => {
  const hub = new Hub();
  await using _ = hub.start({ relayAdminUrl: undefined });
  hub.putCluster("edge-1", {
    hosts: ["*.edge.example.com"],
    policy: "public",
    certificateNames: ["edge-1"],
    impersonation: "forward",
    limits: { openRequests: 5 },
  });
  await hub.condition("edge-1", "Ready", "Ready");
  deepEqual(hub.entries(), {
    "edge-1": {
      id: "edge-1",
      tokens: [{ name: "first", tokenSha256: digest("edge-1") }],
      targetAddr: "kubernetes.default.svc:443",
      hostnames: ["*.edge.example.com"],
      policy: "public",
      certificateName: ["edge-1"],
      impersonation: "forward",
      limits: { openRequests: 5 },
    },
  });
  deepEqual(Object.keys(hub.secret("hub", "culvert-relay-clusters")!), ["edge-1.json"]);
  const { annotations } = hub.kube.read(pods, "hub", "relay-0")!.metadata;
  ok(annotations?.["culvert.dev/relay-files"], "kubelet renews the mount at once");
  hub.kube.remove(clusters, "hub", "edge-1");
  await eventually(() => Object.keys(hub.entries()).length === 0, "the entry to go");
  deepEqual(hub.secret("hub", "culvert-relay-clusters"), { "none.json": "[]\n" });
});

Deno.test("of two Clusters with one id, token or hostname, the older counts", async () => {
  const hub = new Hub();
  hub.putCluster("first", { id: "edge", hosts: ["*.edge.example.com"], policy: "public" });
  hub.putCluster("same-id", { id: "edge" });
  hub.putCluster("same-token", { tokens: [{ name: "x", sha256: digest("first") }] });
  hub.putCluster("same-host", { hosts: ["web.edge.example.com"], policy: "public" });
  await using _ = hub.start({ relayAdminUrl: undefined });
  await hub.condition("first", "Ready", "Ready");
  for (const name of ["same-id", "same-token", "same-host"]) {
    const { message } = await hub.condition(name, "Accepted", "Conflict");
    match(message, /Cluster hub\/first has/);
  }
  deepEqual(Object.keys(hub.entries()), ["edge"]);
  hub.kube.remove(clusters, "hub", "first");
  for (const name of ["same-id", "same-token", "same-host"]) {
    await hub.condition(name, "Ready", "Ready");
  }
});

Deno.test("the Secret of a Cluster that is being deleted makes way for the next one of its id", async () => {
  const hub = new Hub();
  hub.putCluster("first", { id: "edge" });
  hub.putCluster("second", { id: "edge" });
  const isReady = Promise.withResolvers<void>();
  await using _ = hub.start({ relayAdminUrl: undefined }, {
    kube: (fetch) => async (path, init) => {
      const isSecret = path.endsWith("/secrets/culvert-cluster-edge");
      if (isSecret && init.method === "DELETE") {
        await hub.condition("second", "ArgoCDReady", "Conflict");
      }
      const releases = path.includes("/clusters/first") && init.body?.includes('"finalizers":[]');
      if (releases) await isReady.promise;
      return await fetch(path, init);
    },
  });
  await hub.condition("first", "Ready", "Ready");
  await hub.condition("second", "Accepted", "Conflict");
  hub.kube.remove(clusters, "hub", "first");
  try {
    await hub.condition("second", "Ready", "Ready");
  } finally {
    isReady.resolve();
  }
  await eventually(() => !hub.kube.read(clusters, "hub", "first"), "the first Cluster to go");
});

Deno.test("Argo CD gets a Secret with name, server, credentials and labels, which follow", async () => {
  const hub = new Hub();
  await using _ = hub.start({ relayAdminUrl: undefined });
  const argocd = {
    enabled: true,
    project: "edge",
    labels: { env: "edge", tier: "1" },
    annotations: { note: "x" },
    namespaces: ["a", "b"],
  };
  hub.putCluster("edge-1", { argocd });
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  const { config, ...rest } = hub.secret("argocd", secretName)!;
  deepEqual(rest, {
    name: "edge-1",
    server: `${relayUrl}/tunnel/edge-1`,
    project: "edge",
    namespaces: "a,b",
    clusterResources: "false",
  });
  deepEqual(JSON.parse(config!), {
    bearerToken: "argo-token",
    tlsClientConfig: { insecure: false, caData: btoa("a CA") },
  });
  const before = hub.kube.read(secrets, "argocd", secretName)!.metadata;
  equal(before.labels?.["argocd.argoproj.io/secret-type"], "cluster");
  equal(before.labels?.["culvert.dev/owner"], "hub.edge-1");
  equal(before.labels?.["env"], "edge");
  hub.putCluster("edge-1", { argocd: { enabled: true, labels: { env: "prod" } } });
  const labels = () => hub.kube.read(secrets, "argocd", secretName)?.metadata.labels ?? {};
  await eventually(() => labels()["env"] === "prod", "the label to follow");
  equal(labels()["tier"], undefined);
  const after = hub.secret("argocd", secretName)!;
  deepEqual(Object.keys(after).sort(), ["config", "name", "server"]);
  equal(
    hub.kube.read(secrets, "argocd", secretName)!.metadata.uid,
    before.uid,
    "it stays the same",
  );
});

Deno.test("a Secret that was changed by hand, or deleted, is put right", async () => {
  const hub = new Hub();
  await using _ = hub.start({ relayAdminUrl: undefined });
  hub.putCluster("edge-1");
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  const secret = hub.kube.read(secrets, "argocd", secretName)!;
  hub.kube.put(secrets, {
    ...secret,
    data: { ...secret["data"] as object, server: btoa("https://elsewhere") },
  });
  const server = () => hub.secret("argocd", secretName)?.["server"];
  await eventually(() => server() === `${relayUrl}/tunnel/edge-1`, "the server to be put right");
  hub.kube.remove(secrets, "argocd", secretName);
  await eventually(() => server() !== undefined, "the Secret to come back");
  hub.kube.remove(secrets, "hub", "culvert-relay-clusters");
  await eventually(() => "edge-1" in hub.entries(), "the entries to come back");
});

Deno.test("the relay reads no entry that a backup or somebody else has put into its Secret", async () => {
  const hub = new Hub();
  await using _ = hub.start({ relayAdminUrl: undefined });
  hub.putCluster("edge-1");
  await hub.condition("edge-1", "Ready", "Ready");
  const secret = hub.kube.read(secrets, "hub", "culvert-relay-clusters")!;
  const foreign = { "gone.json": btoa('{"id":"gone"}') };
  hub.kube.put(secrets, { ...secret, data: { ...secret["data"] as object, ...foreign } });
  await eventually(
    () => JSON.stringify(Object.keys(hub.entries())) === '["edge-1"]',
    () => `the entry to go; there are ${Object.keys(hub.entries())}`,
  );
});

Deno.test("new credentials of the relay get into the Secrets", async () => {
  const hub = new Hub();
  await using _ = hub.start({ relayAdminUrl: undefined });
  hub.putCluster("edge-1");
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  hub.kube.put(secrets, {
    metadata: { name: "relay-tls", namespace: "hub" },
    data: { "ca.crt": btoa("another CA"), "tls.crt": btoa("cert"), "tls.key": btoa("key") },
  });
  const config = () => JSON.parse(hub.secret("argocd", secretName)!["config"]!);
  await eventually(() => config().tlsClientConfig.caData === btoa("another CA"), "the new CA");
  deepEqual(config(), {
    tlsClientConfig: {
      insecure: false,
      caData: btoa("another CA"),
      certData: btoa("cert"),
      keyData: btoa("key"),
    },
  });
  hub.kube.remove(secrets, "hub", "relay-tls");
  await hub.condition("edge-1", "ArgoCDReady", "CredentialsMissing");
  ok(hub.secret("argocd", secretName), "what Argo CD has stays");
});

Deno.test("a Secret of the same server, or of the name, that somebody else made is not touched", async () => {
  const hub = new Hub();
  const labels = { "argocd.argoproj.io/secret-type": "cluster" };
  hub.kube.put(secrets, {
    metadata: { name: "by-hand", namespace: "argocd", labels },
    data: { name: btoa("mine"), server: btoa(`${relayUrl}/tunnel/edge-1`) },
  });
  hub.kube.put(secrets, {
    metadata: { name: "culvert-cluster-edge-2", namespace: "argocd" },
    data: { x: btoa("y") },
  });
  hub.putCluster("edge-1");
  hub.putCluster("edge-2");
  await using _ = hub.start({ relayAdminUrl: undefined });
  const conflict = await hub.condition("edge-1", "ArgoCDReady", "Conflict");
  equal(conflict.status, "False");
  match(conflict.message, /argocd\/by-hand/);
  await hub.condition("edge-2", "ArgoCDReady", "Conflict");
  equal(hub.secret("argocd", secretName), undefined);
  deepEqual(hub.secret("argocd", "culvert-cluster-edge-2"), { x: "y" });
  hub.kube.remove(secrets, "argocd", "by-hand");
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  hub.kube.remove(clusters, "hub", "edge-2");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-2"), "the Cluster to go");
  deepEqual(hub.secret("argocd", "culvert-cluster-edge-2"), { x: "y" });
});

Deno.test("a deleted Cluster stays while Applications use it, with its Secret and its entry", async () => {
  const hub = new Hub();
  await using _ = hub.start({ relayAdminUrl: undefined });
  hub.putCluster("edge-1");
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  hub.putApplication("by-name", { name: "edge-1" });
  hub.putApplication("by-server", { server: `${relayUrl}/tunnel/edge-1` });
  hub.putApplication("elsewhere", { server: "https://kubernetes.default.svc" });
  await eventually(() => hub.kube.openWatches > 0, "watches");
  hub.kube.remove(clusters, "hub", "edge-1");
  const { status, message } = await hub.condition("edge-1", "ArgoCDReady", "InUse");
  equal(status, "False");
  match(message, /2 Applications use the cluster: by-name, by-server/);
  ok(hub.secret("argocd", secretName));
  ok("edge-1" in hub.entries(), "Argo CD needs the tunnel to take the Applications away");
  await eventually(
    () => hub.kube.all(events).some((event) => event["reason"] === "InUse"),
    "an Event",
  );
  hub.kube.remove(argocdApplications, "argocd", "by-name");
  await eventually(
    async () => (await hub.condition("edge-1", "ArgoCDReady", "InUse")).message.startsWith("1 App"),
    "one to be left",
  );
  hub.kube.remove(argocdApplications, "argocd", "by-server");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  equal(hub.secret("argocd", secretName), undefined);
  await eventually(() => !("edge-1" in hub.entries()), "the entry to go");
});

Deno.test("keepWhileInUse: false takes the Secret away at once", async () => {
  const hub = new Hub();
  await using _ = hub.start({ relayAdminUrl: undefined });
  hub.putCluster("edge-1", { argocd: { enabled: true, keepWhileInUse: false } });
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  hub.putApplication("app", { name: "edge-1" });
  hub.kube.remove(clusters, "hub", "edge-1");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  equal(hub.secret("argocd", secretName), undefined);
});

Deno.test("a Cluster that is not accepted is not at the relay, and not in Argo CD", async () => {
  const hub = new Hub();
  await using _ = hub.start({ relayAdminUrl: undefined });
  hub.putCluster("edge-1", { accepted: false });
  await hub.condition("edge-1", "Ready", "NotAccepted");
  deepEqual(hub.entries(), {});
  equal(hub.secret("argocd", secretName), undefined);
  hub.putCluster("edge-1", { accepted: true });
  await hub.condition("edge-1", "Ready", "Ready");
  ok("edge-1" in hub.entries());
});

Deno.test("a Secret of a Cluster that went without its finalizer goes, too", async () => {
  const hub = new Hub();
  {
    await using _ = hub.start({ relayAdminUrl: undefined });
    hub.putCluster("edge-1");
    await hub.condition("edge-1", "ArgoCDReady", "Synced");
  }
  const cluster = hub.kube.read(clusters, "hub", "edge-1")!;
  hub.kube.put(clusters, { ...cluster, metadata: { ...cluster.metadata, finalizers: [] } });
  hub.kube.remove(clusters, "hub", "edge-1");
  await using _ = hub.start({ relayAdminUrl: undefined });
  await eventually(() => hub.secret("argocd", secretName) === undefined, "the Secret to go");
});

Deno.test("somebody else's Secret culvert-relay-clusters is not touched", async () => {
  const hub = new Hub();
  hub.kube.put(secrets, {
    metadata: { name: "culvert-relay-clusters", namespace: "hub" },
    data: { "clusters.json": btoa("[]") },
  });
  hub.putCluster("edge-1");
  await using _ = hub.start({ relayAdminUrl: undefined });
  await hub.condition("edge-1", "Programmed", "Conflict");
  deepEqual(hub.secret("hub", "culvert-relay-clusters"), { "clusters.json": "[]" });
  hub.kube.remove(secrets, "hub", "culvert-relay-clusters");
  await hub.condition("edge-1", "Ready", "Ready");
});

Deno.test("with the relay's admin API, a Cluster tells whether the relay has it and who is connected", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putCluster("edge-1");
  await hub.condition("edge-1", "Programmed", "Programming");
  hub.relay.clusters.set("edge-1", { source: "configuration" });
  await hub.condition("edge-1", "Ready", "NotConnected");
  const since = "2026-11-30T00:00:00Z";
  hub.relay.agents = [1, 2].map((slot) => ({
    ...{ id: `s${slot}`, cluster: "edge-1", instance: "pod-a", slot, since },
    software: "culvert-agent/0.1.0",
  }));
  await hub.condition("edge-1", "Ready", "Ready");
  const status = hub.kube.read(clusters, "hub", "edge-1")!["status"] as Record<string, unknown>;
  equal(status["connectedAgents"], 1);
  deepEqual(status["agents"], [{ name: "pod-a", version: "culvert-agent/0.1.0", since }]);
  ok(status["lastConnected"]);
  hub.relay.isAway = true;
  await hub.condition("edge-1", "Connected", "RelayUnreachable");
  hub.relay.isAway = false;
  await hub.condition("edge-1", "Ready", "Ready");
});

Deno.test("nothing is written while nothing changes", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge");
  hub.putCluster("edge-1");
  hub.relay.clusters.set("edge-1", { source: "configuration" });
  hub.relay.agents = [{ id: "s1", cluster: "edge-1", instance: "pod-a", since: "2026-11-30" }];
  await hub.condition("edge-1", "Ready", "Ready");
  let before = -1;
  await eventually(() => {
    const settled = before === hub.kube.writes.length;
    before = hub.kube.writes.length;
    return settled;
  }, "the writes to end");
  const asked = hub.relay.calls.length;
  await eventually(() => hub.relay.calls.length > asked + 30, "ten more rounds");
  equal(hub.kube.writes.length, before);
});

Deno.test("a Tunnel's Secret holds the Cluster that lets it in, and no token", async () => {
  const edge = new Edge();
  edge.putTunnel({
    relay: {
      url: "wss://relay.test/connect",
      registration: { secret: { name: "home-entry" } },
    },
    kubernetesApi: { serviceAccountName: "default" },
  });
  await using _ = edge.start();
  await edge.condition(tunnels, "home", "Registered", "EntryWritten");
  const data = edge.kube.read(secrets, "apps", "home-entry")!["data"] as Record<string, string>;
  const texts = Object.values(data).map((text) => atob(text)).join("\n");
  ok(!texts.includes("agent-token"), "no token leaves the cluster");
  const cluster = JSON.parse(atob(data["cluster.yaml"]!));
  clusterSpec.parse(cluster.spec);
  const hub = new Hub();
  hub.kube.put(clusters, { ...cluster, metadata: { ...cluster.metadata, namespace: "hub" } });
  await using _hub = hub.start({ relayAdminUrl: undefined });
  await hub.condition("apps-home", "Ready", "Ready");
  deepEqual(hub.entries()["apps-home"], JSON.parse(atob(data["cluster.json"]!)));
});

Deno.test("a Cluster whose policy the relay does not have holds up no other", async () => {
  const hub = new Hub();
  hub.putCluster("edge-1", { callerPolicy: "staff" });
  hub.putCluster("edge-2");
  await using _ = hub.start();
  const { message } = await hub.condition("edge-1", "Accepted", "PolicyMissing");
  match(message, /no policy staff/);
  await eventually(() => Object.keys(hub.entries()).join() === "edge-2", "the entries");
  hub.relay.policies.set("staff", {});
  await hub.condition("edge-1", "Accepted", "Accepted");
  await eventually(() => "edge-1" in hub.entries(), "the entry");
});

Deno.test("clusters go on in further Secrets, and one without room is told so", async () => {
  const hub = new Hub();
  // One entry for each Secret.
  await using _ = hub.start({ relayAdminUrl: undefined, maxSecretBytes: 300 });
  const names = clustersSecretNames.map((_, index) => `edge-${index}`);
  for (const name of names) {
    hub.putCluster(name, { argocd: { enabled: false } });
    await hub.condition(name, "Ready", "Ready");
  }
  for (const [index, name] of clustersSecretNames.entries()) {
    deepEqual(Object.keys(hub.secret("hub", name)!), [`edge-${index}.json`]);
  }
  hub.putCluster("late");
  const { message } = await hub.condition("late", "Ready", "SecretsFull");
  match(message, /culvert-relay-clusters-8 have no room/);
  await hub.condition("edge-0", "Ready", "Ready");
  hub.kube.remove(clusters, "hub", "edge-3");
  await hub.condition("late", "Ready", "Ready");
  deepEqual(Object.keys(hub.secret("hub", "culvert-relay-clusters-4")!), ["late.json"]);
});
