import assert from "node:assert/strict";
import type { KubeObject } from "../../lib/kube/objects.ts";
import {
  configMaps,
  deployments,
  events,
  namespaces,
  podDisruptionBudgets,
  secrets,
} from "../../lib/kube/resources.ts";
import { clusterTunnels, tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { failure } from "../support/fake_kube.ts";
import { Cluster, conditionsOf, digest, endpoint, route, tunnelSpec } from "./harness.ts";

function tokenOf(cluster: Cluster, name = "home-agent-token", namespace = "apps"): string {
  const secret = cluster.kube.read(secrets, namespace, name);
  return atob((secret?.["data"] as Record<string, string> | undefined)?.["token"] ?? "");
}

function statusOf(cluster: Cluster): Record<string, unknown> {
  return cluster.kube.read(tunnels, "apps", "home")!["status"] as Record<string, unknown>;
}

function admitted(cluster: Cluster): unknown {
  const tokens = cluster.relay.clusters.get("apps-home")?.["tokens"] as
    | { tokenSha256: string }[]
    | undefined;
  return tokens?.map(({ tokenSha256 }) => tokenSha256);
}

Deno.test("a Tunnel gets an entry at the relay, a token and agents, and is Ready", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  const status = statusOf(cluster);
  assert.deepEqual(admitted(cluster), [digest(tokenOf(cluster))]);
  assert.equal(status["id"], "apps-home");
  assert.equal(status["observedGeneration"], 1);
  assert.equal(status["connectedAgents"], 2);
  assert.ok(cluster.kube.read(podDisruptionBudgets, "apps", "home-agent"));
  for (const resource of [deployments, configMaps, secrets]) {
    const made = cluster.kube.all(resource)
      .filter(({ metadata }) => metadata.namespace === "apps" && metadata.ownerReferences);
    assert.equal(made.length, 1);
    assert.equal(made[0]!.metadata.labels?.["culvert.dev/tunnel"], "home");
  }
});

Deno.test("only the token's digest leaves the cluster, and no object but its Secret holds it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using running = cluster.start();
  await cluster.ready();
  const token = tokenOf(cluster);
  const { kube, relay } = cluster;
  const rest = JSON.stringify([
    kube.requests.filter(({ path }) => !path.includes("/secrets")).map(({ body }) => body),
    [...relay.clusters],
    running.log.lines,
  ]);
  for (const secret of [token, "admin-token"]) assert.equal(rest.includes(secret), false);
});

Deno.test("a settled Tunnel causes no writes, at the API server or the relay", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using running = cluster.start();
  await cluster.ready();
  await eventually(() => running.operator.isSettled, "the operator to settle");
  const { kube, relay } = cluster;
  const before = [kube.writes.length, relay.calls.length];
  const reads = kube.requests.length;
  await eventually(() => kube.requests.length > reads + 50, "many looks at the Secrets");
  assert.deepEqual([kube.writes.length, relay.calls.length], before);
});

Deno.test("a changed spec changes the Deployment, and nothing else is written but the status", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using running = cluster.start();
  await cluster.ready();
  await eventually(() => running.operator.isSettled, "the operator to settle");
  const before = cluster.kube.writes.length;
  cluster.putTunnel({ agent: { image: "other:1", resources: { limits: { cpu: "1" } } } });
  const image = () =>
    (cluster.kube.read(deployments, "apps", "home-agent") as unknown as {
      spec: { template: { spec: { containers: { image: string }[] } } };
    }).spec.template.spec.containers[0]!.image;
  await eventually(() => image() === "other:1", "the image");
  await eventually(() => statusOf(cluster)["observedGeneration"] === 2, "the status");
  const paths = new Set(cluster.kube.writes.slice(before).map(({ path }) => path));
  assert.deepEqual([...paths].sort(), [
    "/apis/apps/v1/namespaces/apps/deployments/home-agent",
    "/apis/culvert.dev/v1alpha1/namespaces/apps/tunnels/home/status",
  ]);
});

Deno.test("what is changed by hand comes back, and a stranger's annotation stays", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  const { kube } = cluster;
  const spoil = (name: string, resource: typeof secrets, change: Partial<KubeObject>) => {
    const object = kube.read(resource, "apps", name)!;
    kube.put(resource, {
      ...object,
      ...change,
      metadata: {
        ...object.metadata,
        labels: { ...object.metadata.labels, "culvert.dev/tunnel": "spoilt" },
        annotations: { ...object.metadata.annotations, mine: "stays" },
      },
    });
  };
  spoil("home-agent", deployments, {});
  spoil("home-agent-token", secrets, {});
  spoil("home-routes", configMaps, { data: { "targets.yaml": "spoilt" } });
  for (
    const [resource, name] of [
      [deployments, "home-agent"],
      [secrets, "home-agent-token"],
      [configMaps, "home-routes"],
    ] as const
  ) {
    const read = () => kube.read(resource, "apps", name)!;
    await eventually(
      () => read().metadata.labels?.["culvert.dev/tunnel"] === "home",
      `the label of ${name}`,
    );
    assert.equal(read().metadata.annotations?.["mine"], "stays");
  }
  assert.deepEqual(cluster.targets(), []);
});

Deno.test("a token's Secret that is deleted is made anew; the relay knows the digest first", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start({
    relay: (fetch) => async (url, init, ca) => {
      const answer = await fetch(url, init, ca);
      order.push(`relay ${init.method}`);
      return answer;
    },
    kube: (fetch) => async (path, init) => {
      if (init.method === "POST" && path.includes("/secrets")) order.push("secret POST");
      return await fetch(path, init);
    },
  });
  const order: string[] = [];
  await cluster.ready();
  const old = tokenOf(cluster);
  order.length = 0;
  cluster.kube.remove(secrets, "apps", "home-agent-token");
  await eventually(() => tokenOf(cluster) !== "", "a new token");
  assert.notEqual(tokenOf(cluster), old);
  assert.deepEqual(order.slice(0, 2), ["relay PUT", "secret POST"]);
  await eventually(
    () => JSON.stringify(admitted(cluster)) === JSON.stringify([digest(tokenOf(cluster))]),
    "the old digest to go, once all agents have the new token",
  );
  const reported = cluster.kube.all(events).map(({ reason }) => reason);
  assert.ok(reported.includes("TokenReplaced"));
});

/** A cluster with a Tunnel whose id somebody else has at the relay. */
function withTakenId() {
  const cluster = new Cluster();
  const theirs = { owner: "somebody", tokens: [] };
  cluster.relay.clusters.set("apps-home", theirs);
  cluster.putTunnel();
  return { cluster, theirs };
}

Deno.test("an id of another owner is a conflict: nothing is made or taken over, and it heals", async () => {
  const { cluster, theirs } = withTakenId();
  await using _ = cluster.start();
  await cluster.condition(tunnels, "home", "Registered", "Conflict");
  assert.equal(cluster.kube.read(deployments, "apps", "home-agent"), undefined);
  const reads = cluster.kube.requests.length;
  await eventually(() => cluster.kube.requests.length > reads + 30, "several looks");
  assert.deepEqual(cluster.relay.clusters.get("apps-home"), theirs);
  await eventually(() => cluster.relay.watches.size === 1, "the watch");
  cluster.relay.lose("clusters", "apps-home");
  await cluster.ready();
  assert.notEqual(cluster.relay.clusters.get("apps-home")!["owner"], "somebody");
});

Deno.test("a Tunnel in conflict that is deleted leaves the other owner's entry", async () => {
  const { cluster, theirs } = withTakenId();
  await using _ = cluster.start();
  await cluster.condition(tunnels, "home", "Registered", "Conflict");
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  assert.deepEqual(cluster.relay.clusters.get("apps-home"), theirs);
});

Deno.test("an object of somebody else's with a name that is needed stays as it is", async () => {
  const cluster = new Cluster();
  const theirs = { metadata: { name: "home-routes", namespace: "apps" }, data: { theirs: "1" } };
  cluster.kube.put(configMaps, theirs);
  cluster.putTunnel();
  await using _ = cluster.start();
  const { message } = await cluster.condition(tunnels, "home", "AgentAvailable", "Conflict");
  assert.match(message, /ConfigMap home-routes is there already/);
  assert.deepEqual(cluster.kube.read(configMaps, "apps", "home-routes")!["data"], { theirs: "1" });
});

Deno.test("an id outside the token's scope is refused once, and another token heals it", async () => {
  const cluster = new Cluster();
  cluster.relay.tokens.set("admin-token", { prefixes: ["team-"], suffixes: [""] });
  cluster.relay.tokens.set("wide-token", { prefixes: [""], suffixes: [""] });
  cluster.putTunnel();
  await using running = cluster.start();
  await cluster.condition(tunnels, "home", "Registered", "Forbidden");
  const reads = cluster.kube.requests.length;
  await eventually(() => cluster.kube.requests.length > reads + 50, "many looks at the token");
  assert.deepEqual(cluster.relay.calls, ["PUT /admin/v1/clusters/apps-home"], "it was asked once");
  cluster.kube.put(secrets, {
    metadata: { name: "relay-api", namespace: "apps" },
    data: { token: btoa("wide-token") },
  });
  await cluster.ready();
  assert.equal(running.log.lines.some((line) => line.includes("wide-token")), false);
});

Deno.test("a quota, an unknown token and a wait for acceptance each have a reason", async (t) => {
  const cases = {
    QuotaExceeded: { prefixes: [""], suffixes: [""], maxClusters: 0 },
    PendingAcceptance: { prefixes: [""], suffixes: [""], autoAccept: false },
  };
  for (const [reason, token] of Object.entries(cases)) {
    await t.step(reason, async () => {
      const cluster = new Cluster();
      cluster.relay.tokens.set("admin-token", token);
      cluster.putTunnel();
      await using _ = cluster.start();
      await cluster.condition(tunnels, "home", "Registered", reason);
      assert.equal(cluster.kube.read(deployments, "apps", "home-agent"), undefined);
    });
  }
  await t.step("Unauthorized", async () => {
    const cluster = new Cluster();
    cluster.relay.tokens.clear();
    cluster.putTunnel();
    await using _ = cluster.start();
    await cluster.condition(tunnels, "home", "Registered", "Unauthorized");
  });
  await t.step("TokenMissing", async () => {
    const cluster = new Cluster();
    cluster.kube.remove(secrets, "apps", "relay-api");
    cluster.putTunnel();
    await using _ = cluster.start();
    await cluster.condition(tunnels, "home", "Registered", "TokenMissing");
  });
});

Deno.test("nothing of a Secret that holds no token is told, nor sent", async (t) => {
  const cases = {
    "must be one line": "first-secret-line\nsecond-secret-line",
    "must be one line of": "secr\u00e8t-\u2603-secret",
    "has more than 4096 characters": "secret".repeat(1_000),
    "is in double quotes": '"secret-in-quotes"',
    'begins with "Bearer"': "Bearer secret-token",
  };
  for (const [fault, text] of Object.entries(cases)) {
    await t.step(fault, async () => {
      const cluster = new Cluster();
      const data = { token: new TextEncoder().encode(text).toBase64() };
      cluster.kube.put(secrets, { metadata: { name: "relay-api", namespace: "apps" }, data });
      cluster.putTunnel();
      await using running = cluster.start();
      const { message } = await cluster.condition(tunnels, "home", "Registered", "TokenInvalid");
      const where = "Key token of Secret apps/relay-api: the token ";
      assert.ok(message.startsWith(where + fault), message);
      const told = JSON.stringify([
        cluster.kube.all(tunnels),
        cluster.kube.all(events),
        running.log.lines,
      ]);
      assert.equal(/secret-|secr\u00e8t|secretsecret/.test(told), false, told);
      assert.deepEqual(cluster.relay.calls, []);
    });
  }
});

Deno.test("a relay that is away leaves what runs alone, with one Event, and is found again", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const settings = { resyncMs: 50 };
  await using running = cluster.start({ settings });
  await cluster.ready();
  cluster.relay.isAway = true;
  await cluster.condition(tunnels, "home", "Registered", "RelayUnreachable");
  const calls = cluster.relay.calls.length;
  await eventually(() => cluster.relay.calls.length > calls + 5, "more tries");
  assert.ok(cluster.kube.read(deployments, "apps", "home-agent"));
  const lost = cluster.kube.all(events).filter(({ reason }) => reason === "RelayUnreachable");
  assert.equal(lost.length, 1);
  cluster.relay.isAway = false;
  await cluster.ready();
  assert.equal(running.log.lines.filter((line) => line.startsWith("error")).length, 0);
});

Deno.test("a token is not replaced while the relay is away, as it would not know the new one", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start({ settings: { resyncMs: 50 } });
  await cluster.ready();
  const template = () =>
    JSON.stringify(cluster.kube.read(deployments, "apps", "home-agent")!["spec"]);
  const before = template();
  cluster.relay.isAway = true;
  await cluster.condition(tunnels, "home", "Registered", "RelayUnreachable");
  cluster.kube.remove(secrets, "apps", "home-agent-token");
  const reads = cluster.kube.requests.length;
  await eventually(() => cluster.kube.requests.length > reads + 20, "several looks");
  assert.equal(tokenOf(cluster), "");
  cluster.relay.isAway = false;
  await eventually(() => tokenOf(cluster) !== "", "a new token");
  await cluster.ready();
  assert.equal(template(), before, "no agent is restarted");
});

Deno.test("an entry that is deleted at the relay is registered again with the next look", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start({ settings: { resyncMs: 50 } });
  await cluster.ready();
  cluster.relay.clusters.delete("apps-home");
  await eventually(() => cluster.relay.clusters.has("apps-home"), "the entry");
});

Deno.test("a deleted Tunnel takes its entry with it, and its finalizer goes last", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  assert.equal(cluster.relay.clusters.size, 0);
  assert.equal(cluster.kube.all(deployments).length, 0);
});

Deno.test("a Tunnel with deletionPolicy Retain leaves its entry, and a new one of its name takes it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ deletionPolicy: "Retain" });
  await using _ = cluster.start();
  await cluster.ready();
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  assert.equal(cluster.relay.clusters.size, 1);
  cluster.putTunnel();
  await cluster.ready();
});

Deno.test("a namespace that is deleted loses its relay token first, and leaves nothing at the relay", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  cluster.kube.remove(secrets, "apps", "relay-api");
  cluster.kube.remove(namespaces, undefined, "apps");
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  assert.equal(cluster.relay.clusters.size, 0);
});

Deno.test("a namespace that is deleted while the operator is away leaves nothing at the relay", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  {
    await using _ = cluster.start();
    await cluster.ready();
    const kept = cluster.kube.read(secrets, "ops", "culvert-operator-kept-apps");
    const { uid, resourceVersion } = cluster.kube.read(secrets, "apps", "relay-api")!.metadata;
    assert.deepEqual(
      Object.values(kept?.["data"] as object).map((text) => atob(text)),
      ["admin-token", `${uid}/${resourceVersion}`],
    );
  }
  cluster.kube.remove(secrets, "apps", "relay-api");
  cluster.kube.remove(tunnels, "apps", "home");
  await using _ = cluster.start();
  await cluster.gone(tunnels, "home");
  assert.equal(cluster.relay.clusters.size, 0);
  assert.equal(cluster.kube.read(secrets, "ops", "culvert-operator-kept-apps"), undefined);
});

Deno.test("what was kept of another namespace of the same name is not used", async () => {
  const cluster = new Cluster();
  const { kube } = cluster;
  cluster.putTunnel();
  {
    await using _ = cluster.start();
    await cluster.ready();
  }
  const { uid = "", ...metadata } = kube.read(secrets, "ops", "culvert-operator-kept-apps")!
    .metadata;
  kube.put(secrets, {
    metadata: {
      ...metadata,
      uid,
      ownerReferences: [{ apiVersion: "v1", kind: "Namespace", name: "apps", uid: "another" }],
    },
  });
  kube.remove(secrets, "apps", "relay-api");
  kube.remove(tunnels, "apps", "home");
  await using _ = cluster.start();
  await cluster.condition(tunnels, "home", "Registered", "CleanUpFailed");
  assert.equal(cluster.relay.clusters.size, 1);
});

Deno.test("a token that can't be kept is used all the same, and the log says so", async () => {
  const cluster = new Cluster();
  cluster.kube.intercept = ({ path }) =>
    path.includes("culvert-operator-kept") ? failure(403, "Forbidden", "may not") : undefined;
  cluster.putTunnel();
  await using running = cluster.start();
  await cluster.ready();
  assert.ok(running.log.lines.some((line) => line.includes("Credentials can't be kept")));
});

Deno.test("a Tunnel without its relay's token can be deleted at once", async () => {
  const cluster = new Cluster();
  cluster.kube.remove(secrets, "apps", "relay-api");
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.condition(tunnels, "home", "Registered", "TokenMissing");
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
});

Deno.test("a clean-up that is refused for good lets the object go, and says what was left", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start({ settings: { orphanMs: 1_500 } });
  await cluster.ready();
  cluster.relay.isAway = true;
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.condition(tunnels, "home", "Registered", "CleanUpFailed");
  await eventually(
    () => cluster.kube.read(tunnels, "apps", "home") === undefined,
    "the Tunnel to go",
    60_000,
  );
  const [orphan] = cluster.kube.all(events).filter(({ reason }) => reason === "Orphaned");
  assert.match(String(orphan?.["note"]), /apps-home/);
});

Deno.test("a Tunnel with a token that the relay knows is not registered", async () => {
  const cluster = new Cluster();
  const { relay } = tunnelSpec() as { relay: Record<string, unknown> };
  cluster.putTunnel({
    relay: { ...relay, registration: { existing: { tokenRef: { name: "relay-api" } } } },
  });
  await using _ = cluster.start();
  await cluster.ready();
  assert.deepEqual(cluster.relay.calls, []);
  const { finalizers } = cluster.kube.read(tunnels, "apps", "home")!.metadata;
  assert.deepEqual(finalizers ?? [], []);
});

Deno.test("a Tunnel can write its entry to a Secret, with no token in it", async () => {
  const cluster = new Cluster();
  const { relay } = tunnelSpec() as { relay: Record<string, unknown> };
  cluster.putTunnel({ relay: { ...relay, registration: { secret: { name: "entry" } } } });
  await using _ = cluster.start();
  await cluster.ready();
  const { data } = cluster.kube.read(secrets, "apps", "entry") as unknown as {
    data: Record<string, string>;
  };
  const entry = JSON.parse(atob(data["cluster.json"]!));
  assert.equal(entry.id, "apps-home");
  assert.equal(entry.tokens[0].tokenSha256, digest(tokenOf(cluster)));
  assert.equal(JSON.stringify(data).includes(btoa(tokenOf(cluster))), false);
});

Deno.test("a ClusterTunnel's objects are in the operator's namespace", async () => {
  const cluster = new Cluster();
  cluster.kube.put(clusterTunnels, { metadata: { name: "shared" }, spec: tunnelSpec() });
  await using _ = cluster.start();
  await cluster.ready(clusterTunnels, "shared", null);
  assert.ok(cluster.kube.read(deployments, "ops", "cluster-shared-agent"));
  assert.ok(cluster.relay.clusters.has("shared"));
});

function condition(cluster: Cluster, type: string) {
  const found = conditionsOf(cluster.kube.read(tunnels, "apps", "home"));
  const { status, reason } = found.find((it) => it.type === type)!;
  return [status, reason];
}

Deno.test("connected agents are those that the relay lists, and a change is written once", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using running = cluster.start();
  await cluster.ready();
  assert.deepEqual(condition(cluster, "Connected"), ["True", "Connected"]);
  await eventually(() => running.operator.isSettled, "the operator to settle");
  await eventually(() => cluster.relay.watches.size === 1, "the watch");
  const { kube, relay } = cluster;
  const before = kube.writes.length;
  cluster.injected.set("apps-home", 3);
  relay.tell("ADDED", "agents", { cluster: "apps-home" });
  await eventually(() => statusOf(cluster)["connectedAgents"] === 5, "five agents");
  // Told again of what it knows, it asks and writes nothing.
  const asked = relay.calls.length;
  relay.tell("ADDED", "agents", { cluster: "apps-home" });
  await eventually(() => relay.calls.length > asked, "another question");
  await eventually(() => running.operator.isSettled, "the operator to settle");
  assert.equal(kube.writes.length, before + 1);
});

Deno.test("a relay that lists no agent makes a Tunnel with ready pods wait", async () => {
  const cluster = new Cluster();
  const { sessions } = cluster.relay;
  cluster.relay.sessions = () => [];
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.condition(tunnels, "home", "Connected", "Connecting");
  assert.deepEqual(condition(cluster, "AgentAvailable"), ["True", "Connected"]);
  assert.deepEqual(condition(cluster, "Ready"), ["Unknown", "Connecting"]);
  cluster.relay.sessions = sessions;
  await cluster.ready();
});

Deno.test("with replicas 0, agents in users' pods make a Tunnel Ready", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ agent: { replicas: 0 } });
  await using _ = cluster.start({ settings: { takeMs: 50 } });
  await cluster.condition(tunnels, "home", "AgentAvailable", "NoAgents");
  assert.deepEqual(condition(cluster, "Connected"), ["False", "NotConnected"]);
  await eventually(() => cluster.relay.watches.size === 1, "the watch");
  cluster.injected.set("apps-home", 1);
  cluster.relay.tell("ADDED", "agents", { cluster: "apps-home" });
  await cluster.ready();
  assert.equal(statusOf(cluster)["connectedAgents"], 1);
  assert.deepEqual(condition(cluster, "AgentAvailable"), ["True", "Injected"]);
  assert.deepEqual(condition(cluster, "RoutesProgrammed"), ["True", "Unverified"]);
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  cluster.injected.delete("apps-home");
  cluster.relay.tell("DELETED", "agents", { cluster: "apps-home" });
  await cluster.condition(tunnels, "home", "Connected", "NotConnected");
  assert.equal(statusOf(cluster)["connectedAgents"], 0);
});

Deno.test("without an admin API, agents are connected when their pods are ready", async () => {
  const cluster = new Cluster();
  const { relay } = tunnelSpec() as { relay: Record<string, unknown> };
  const registration = { existing: { tokenRef: { name: "relay-api" } } };
  cluster.putTunnel({ relay: { ...relay, registration } });
  await using _ = cluster.start();
  await cluster.ready();
  assert.deepEqual(condition(cluster, "Connected"), ["True", "PodsReady"]);
  assert.equal(statusOf(cluster)["connectedAgents"], 2);
  cluster.putTunnel({ relay: { ...relay, registration }, agent: { replicas: 0 } });
  await cluster.condition(tunnels, "home", "Connected", "NotObserved");
});

Deno.test("a relay that is away leaves the number of agents as it was last known", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start({ settings: { resyncMs: 50 } });
  await cluster.ready();
  cluster.relay.isAway = true;
  await cluster.condition(tunnels, "home", "Registered", "RelayUnreachable");
  cluster.putTunnel({ agent: { replicas: 3 } });
  await cluster.condition(tunnels, "home", "Connected", "RelayUnreachable");
  assert.equal(statusOf(cluster)["connectedAgents"], 2);
});

Deno.test("a paused Tunnel is left as it is", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ paused: true });
  await using _ = cluster.start();
  await cluster.condition(tunnels, "home", "Ready", "Paused");
  assert.deepEqual(cluster.relay.calls, []);
  assert.equal(cluster.kube.all(deployments).length, 0);
});

Deno.test("a paused Tunnel that is deleted takes its bindings' services along", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.putTunnel({ paused: true });
  await cluster.condition(tunnels, "home", "Ready", "Paused");
  cluster.kube.remove(tunnels, "apps", "home");
  await eventually(() => !cluster.kube.read(tunnels, "apps", "home"), "the Tunnel to go");
  assert.deepEqual([cluster.relay.services.size, cluster.relay.clusters.size], [0, 0]);
});

Deno.test("the endpoint is written down before anything is at the relay", async () => {
  const cluster = new Cluster();
  const seen: unknown[] = [];
  await using _ = cluster.start({
    relay: (fetch) => (url, init, ca) => {
      if (init.method === "PUT") {
        const { metadata, ...tunnel } = cluster.kube.read(tunnels, "apps", "home")!;
        const { id, endpoint } = tunnel["status"] as Record<string, unknown>;
        seen.push({ finalizers: metadata.finalizers, id, endpoint });
      }
      return fetch(url, init, ca);
    },
  });
  cluster.putTunnel();
  await cluster.ready();
  assert.deepEqual(seen[0], {
    finalizers: ["culvert.dev/registered"],
    id: "apps-home",
    endpoint,
  });
  assert.ok(conditionsOf(cluster.kube.read(tunnels, "apps", "home")).length >= 4);
});

/** Makes a token as old as one that is due. */
function age(cluster: Cluster, ms: number): void {
  const secret = cluster.kube.read(secrets, "apps", "home-agent-token")!;
  cluster.kube.put(secrets, {
    ...secret,
    metadata: {
      ...secret.metadata,
      annotations: {
        ...secret.metadata.annotations,
        "culvert.dev/token-since": new Date(Date.now() - ms).toISOString(),
      },
    },
  });
}

const hourMs = 3_600_000;

Deno.test("a token is replaced by schedule: relay, Secret, agents, and the old digest goes last", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ tokenRotation: { every: "1h", overlap: "10m" } });
  const order: string[] = [];
  await using _ = cluster.start({
    relay: (fetch) => (url, init, ca) => {
      if (init.method === "PUT") {
        const { tokens } = JSON.parse(init.body ?? "") as { tokens: unknown[] };
        order.push(`relay ${tokens.length}`);
      }
      return fetch(url, init, ca);
    },
    kube: (fetch) => (path, init) => {
      if (init.method === "PUT" && path.includes("/secrets/")) order.push("secret");
      return fetch(path, init);
    },
  });
  await cluster.ready();
  const old = tokenOf(cluster);
  const template = JSON.stringify(cluster.kube.read(deployments, "apps", "home-agent")!["spec"]);
  order.length = 0;
  age(cluster, 2 * hourMs);
  await eventually(() => tokenOf(cluster) !== old, "a new token");
  await eventually(
    () => cluster.kube.all(events).some(({ reason }) => reason === "TokenRotated"),
    "the Event",
  );
  assert.deepEqual(admitted(cluster), [digest(tokenOf(cluster)), digest(old)]);
  // The old one stays for the overlap, and then for as long as an agent is connected by it.
  cluster.hasKubelet = false;
  cluster.agentTokens.set("apps-home", old);
  age(cluster, hourMs / 2);
  const asked = () => cluster.relay.calls.filter((call) => call.endsWith("/sessions")).length;
  const before = asked();
  await eventually(() => asked() > before + 3, "several questions");
  assert.deepEqual(admitted(cluster), [digest(tokenOf(cluster)), digest(old)]);
  cluster.agentTokens.set("apps-home", tokenOf(cluster));
  await eventually(
    () => JSON.stringify(admitted(cluster)) === JSON.stringify([digest(tokenOf(cluster))]),
    "the old digest to go",
  );
  assert.deepEqual(order, ["relay 2", "secret", "relay 1"]);
  assert.equal(
    JSON.stringify(cluster.kube.read(deployments, "apps", "home-agent")!["spec"]),
    template,
    "no agent is restarted",
  );
});

Deno.test("a token that is due stays while the relay is away, and agents go on", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ tokenRotation: { every: "1h", overlap: "1s" } });
  await using _ = cluster.start();
  await cluster.ready();
  const old = tokenOf(cluster);
  cluster.relay.isAway = true;
  age(cluster, 2 * hourMs);
  await cluster.condition(tunnels, "home", "Registered", "RelayUnreachable");
  assert.equal(tokenOf(cluster), old);
  cluster.relay.isAway = false;
  await eventually(() => tokenOf(cluster) !== old, "a new token");
  await cluster.ready();
});

Deno.test("routes that the agents refuse are NotTaken with the agents' reason, until they take them", async () => {
  const cluster = new Cluster();
  cluster.refusal = 'Targets file "targets.yaml", entry 1 ("web"): tls: ca: is no certificate';
  cluster.putTunnel();
  await using _ = cluster.start();
  const { message } = await cluster.condition(tunnels, "home", "RoutesProgrammed", "NotTaken");
  assert.match(message, /^2 of 2 agents still serve the previous routes: .*is no certificate$/);
  cluster.refusal = undefined;
  await cluster.ready();
});
