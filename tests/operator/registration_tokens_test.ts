/** RegistrationTokens: tokens of the relay's admin API, and Clusters of what registers with them. */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { finalizer } from "../../lib/operator/api/schema.ts";
import { clusters, registrationTokens } from "../../lib/operator/api/crds.ts";
import { events, secrets } from "../../lib/kube/resources.ts";
import { readAdminTokens } from "../../lib/config/entries/admin_tokens.ts";
import { eventually } from "../support/deadline.ts";
import { digest } from "./harness.ts";
import { Hub } from "./hub.ts";

const secretName = "culvert-cluster-edge-1";

/** An entry as the relay lists it after a Tunnel has put it. */
function entry(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    ...{ owner: "edge/main", leaseSeconds: 600, accepted: true, registeredBy: "edge" },
    targetAddr: "kubernetes.default.svc:443",
    ...more,
  };
}

Deno.test("a RegistrationToken is made once, and becomes an admin token of the relay", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge", {
    idPrefixes: ["edge-", "site*"],
    hostSuffixes: ["edge.example.com", "*.b.example.com"],
    maxClusters: 3,
    expires: "2099-01-01T00:00:00Z",
    autoAccept: false,
    leaseDuration: "2h",
  });
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  const status = () =>
    hub.kube.read(registrationTokens, "hub", "edge")!["status"] as {
      secretRef: { name: string; key: string };
      used: number;
    };
  deepEqual(status().secretRef, { name: "edge-registration", key: "token" });
  await eventually(() => status().used === 0, "the relay to be asked");
  const { token = "" } = hub.secret("hub", "edge-registration")!;
  notEqual(token, "");
  const own = hub.secret("hub", "culvert-relay-operator-token")!["token"]!;
  deepEqual(hub.adminTokens(), [
    {
      name: "culvert-operator",
      tokenSha256: digest(own),
      clusters: ["*"],
      hostnames: ["*"],
    },
    {
      name: "edge",
      tokenSha256: digest(token),
      clusters: ["edge-*", "site*"],
      hostnames: ["*.edge.example.com", "*.b.example.com"],
      maxClusters: 3,
      expires: "2099-01-01T00:00:00Z",
      autoAccept: false,
      leaseSeconds: 7200,
    },
  ]);
  readAdminTokens(JSON.stringify(hub.adminTokens()), "what the relay reads");
  hub.putToken("edge", { idPrefixes: ["other-"] });
  await eventually(
    () => JSON.stringify(hub.adminTokens()).includes("other-*"),
    "the file to follow",
  );
  equal(hub.secret("hub", "edge-registration")!["token"], token);
  hub.kube.remove(registrationTokens, "hub", "edge");
  await eventually(() => hub.adminTokens().length === 1, "the token to go");
});

Deno.test("a token that expires gets an empty scope, and its status says so", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  const expires = new Date(Date.now() + 300).toISOString();
  hub.putToken("edge", { expires });
  const { message } = await hub.condition("edge", "Ready", "Expired", registrationTokens);
  match(message, /has expired/);
  await eventually(() => hub.adminTokens().length === 2, "the file");
  const { clusters, hostnames, ...rest } = hub.adminTokens()[1]!;
  deepEqual([clusters, hostnames, rest["expires"]], [[], [], undefined]);
});

Deno.test("a token that the relay would refuse holds up no other", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  // The API server takes this for a date-time, and the relay does not.
  hub.putToken("broken", { expires: "2099-01-01t00:00:00z" });
  hub.putToken("culvert-operator");
  hub.putToken("edge");
  const { message } = await hub.condition("broken", "Ready", "InvalidSpec", registrationTokens);
  match(message, /expires/);
  await hub.condition("culvert-operator", "Ready", "InvalidSpec", registrationTokens);
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  deepEqual(hub.adminTokens().map(({ name }) => name), ["culvert-operator", "edge"]);
  readAdminTokens(JSON.stringify(hub.adminTokens()), "what the relay reads");
});

Deno.test("somebody else's Secret of the token's name is not touched", async () => {
  const hub = new Hub();
  hub.kube.put(secrets, {
    metadata: { name: "edge-registration", namespace: "hub" },
    data: { token: btoa("theirs") },
  });
  hub.putToken("edge");
  await using _ = hub.start();
  await hub.condition("edge", "Ready", "Conflict", registrationTokens);
  deepEqual(hub.secret("hub", "edge-registration"), { token: "theirs" });
  equal(hub.adminTokens().length, 1);
});

Deno.test("what registers with a token gets a Cluster, and is in Argo CD", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge", {
    maxClusters: 2,
    argocd: { enabled: true, project: "edge", labels: { env: "edge" } },
  });
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  hub.relay.clusters.set("edge-1", entry());
  hub.relay.clusters.set("Edge_2", entry());
  hub.relay.clusters.set("of-ops", entry({ registeredBy: "ops" }));
  hub.relay.clusters.set("of-a-file", { source: "configuration" });
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  const cluster = hub.kube.read(clusters, "hub", "edge-1")!;
  deepEqual(cluster["spec"], {
    registrationToken: "edge",
    accepted: true,
    targets: ["kubernetes.default.svc:443"],
    argocd: {
      ...{ enabled: true, project: "edge", labels: { env: "edge" } },
      ...{ clusterResources: false, keepWhileInUse: true },
    },
  });
  const secret = hub.kube.read(secrets, "argocd", secretName)!;
  equal(secret.metadata.labels?.["env"], "edge");
  const upper = `edge-2-${digest("Edge_2").slice(0, 8)}`;
  await hub.condition(upper, "ArgoCDReady", "Synced");
  const all = hub.kube.all(clusters).map(({ metadata }) => metadata.name).sort();
  deepEqual(all, ["edge-1", upper].sort());
  deepEqual(hub.entries(), {}, "the relay has them already");
  const used = await hub.condition("edge", "Ready", "UsedUp", registrationTokens);
  match(used.message, /2 of 2/);
});

Deno.test("a cluster that waits is accepted by its Cluster, and kept out by it", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge", { autoAccept: false });
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  hub.relay.clusters.set("edge-1", entry({ accepted: false }));
  await hub.condition("edge-1", "Ready", "PendingAcceptance");
  equal(hub.secret("argocd", secretName), undefined);
  const spec = hub.kube.read(clusters, "hub", "edge-1")!["spec"] as object;
  hub.kube.put(clusters, {
    metadata: { name: "edge-1", namespace: "hub" },
    spec: { ...spec, accepted: true },
  });
  await hub.condition("edge-1", "Programmed", "Registered");
  const { accepted, owner, targetAddr } = hub.relay.clusters.get("edge-1")!;
  deepEqual([accepted, owner, targetAddr], [true, "edge/main", "kubernetes.default.svc:443"]);
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  hub.kube.put(clusters, {
    metadata: { name: "edge-1", namespace: "hub" },
    spec: { ...spec, accepted: false },
  });
  await eventually(() => hub.relay.clusters.get("edge-1")?.["accepted"] === false, "the refusal");
  await eventually(() => hub.secret("argocd", secretName) === undefined, "the Secret to go");
});

Deno.test("a Cluster that is deleted takes its entry off the relay", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge");
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  hub.relay.clusters.set("edge-1", entry());
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  hub.relay.isAway = true;
  hub.kube.remove(clusters, "hub", "edge-1");
  await hub.condition("edge-1", "Programmed", "CleanUpFailed");
  hub.relay.isAway = false;
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  equal(hub.relay.clusters.has("edge-1"), false);
  equal(hub.secret("argocd", secretName), undefined);
});

Deno.test("a Cluster's entry goes though the relay's list has not been read yet", async () => {
  const hub = new Hub();
  const read = Promise.withResolvers<void>();
  await using _ = hub.start({}, {
    relay: (fetch) => async (url, init, tls) => {
      if (new URL(url).pathname === "/admin/v1/clusters") await read.promise;
      return await fetch(url, init, tls);
    },
  });
  hub.relay.clusters.set("edge-1", entry());
  hub.kube.put(clusters, {
    metadata: { name: "edge-1", namespace: "hub", finalizers: [finalizer] },
    spec: { registrationToken: "edge", accepted: true },
  });
  hub.kube.remove(clusters, "hub", "edge-1");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  read.resolve();
  equal(hub.relay.clusters.has("edge-1"), false);
});

Deno.test("a relay that refuses the clean-up for too long does not hold the Cluster", async () => {
  const hub = new Hub();
  await using _ = hub.start({ orphanMs: 0 });
  hub.putToken("edge");
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  hub.relay.clusters.set("edge-1", entry());
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  hub.relay.isAway = true;
  hub.kube.remove(clusters, "hub", "edge-1");
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-1"), "the Cluster to go");
  ok(hub.kube.all(events).some((event) => event["reason"] === "Orphaned"));
});

Deno.test("an entry that is gone takes its Cluster with it, but not from under Applications", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge");
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  for (const id of ["edge-1", "edge-2"]) hub.relay.clusters.set(id, entry());
  for (const id of ["edge-1", "edge-2"]) await hub.condition(id, "ArgoCDReady", "Synced");
  hub.putApplication("app", { name: "edge-1" });
  const calls = hub.relay.calls.length;
  hub.relay.clusters.clear();
  await eventually(() => !hub.kube.read(clusters, "hub", "edge-2"), "the unused Cluster to go");
  await hub.condition("edge-1", "Programmed", "NotRegistered");
  ok(hub.secret("argocd", secretName), "Argo CD's Secret stays");
  equal(hub.kube.read(clusters, "hub", "edge-1")!.metadata.deletionTimestamp, undefined);
  hub.relay.clusters.set("edge-1", entry());
  await hub.condition("edge-1", "Programmed", "Registered");
  ok(hub.relay.calls.slice(calls).every((call) => call.startsWith("GET")), "nothing was deleted");
});

Deno.test("a relay that can't be asked, or answers nonsense, takes no Cluster with it", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge");
  await hub.condition("edge", "Ready", "Ready", registrationTokens);
  hub.relay.clusters.set("edge-1", entry());
  await hub.condition("edge-1", "Programmed", "Registered");
  hub.relay.tokens.clear();
  await hub.condition("edge-1", "Programmed", "RelayUnreachable");
  const calls = hub.relay.calls.length;
  await eventually(() => hub.relay.calls.length > calls + 30, "several rounds");
  ok(hub.kube.read(clusters, "hub", "edge-1"));
  ok(hub.secret("argocd", secretName));
});

/** A value with its base64 texts decoded besides, however deep they are. */
function decoded(value: unknown): string {
  const text = JSON.stringify(value);
  return text.replaceAll(/"[A-Za-z0-9+/=]{8,}"/g, (encoded) => {
    try {
      return `${encoded} ${atob(encoded.slice(1, -1))}`;
    } catch {
      return encoded;
    }
  });
}

Deno.test("no object, Event or log line holds a token but the Secrets that are for it", async () => {
  const hub = new Hub();
  const { log, ...running } = hub.start();
  await using _ = running;
  hub.putToken("edge", { autoAccept: false });
  hub.putCluster("by-hand");
  hub.relay.clusters.set("edge-1", entry({ accepted: false }));
  hub.relay.clusters.set("by-hand", { source: "configuration" });
  await hub.condition("edge-1", "Ready", "PendingAcceptance");
  const spec = hub.kube.read(clusters, "hub", "edge-1")!["spec"] as object;
  hub.kube.put(clusters, {
    metadata: { name: "edge-1", namespace: "hub" },
    spec: { ...spec, accepted: true },
  });
  await hub.condition("edge-1", "ArgoCDReady", "Synced");
  await hub.condition("by-hand", "ArgoCDReady", "Synced");
  hub.relay.isAway = true;
  await hub.condition("edge-1", "Connected", "RelayUnreachable");
  hub.relay.isAway = false;
  hub.relay.tokens.clear();
  await hub.condition("edge-1", "Connected", "RelayUnreachable");
  hub.kube.remove(clusters, "hub", "by-hand");
  await eventually(() => !hub.kube.read(clusters, "hub", "by-hand"), "the Cluster to go");

  const tokens = {
    [hub.secret("hub", "edge-registration")!["token"]!]: ["hub/edge-registration"],
    [hub.secret("hub", "culvert-relay-operator-token")!["token"]!]: [
      "hub/culvert-relay-operator-token",
    ],
    // Argo CD gets it with each cluster.
    "argo-token": ["argocd/culvert-cluster-edge-1", "hub/relay-tls"],
  };
  const objects = hub.kube.state() as [string, unknown][];
  for (const [token, secretNames] of Object.entries(tokens)) {
    const holders = objects.filter(([, object]) => decoded(object).includes(token))
      .map(([key]) => key);
    deepEqual(holders, secretNames.map((name) => `secrets ${name}`));
    ok(!JSON.stringify(log).includes(token), "a log line");
  }
});
