/** Tunnels and their bindings that go from one relay to another. */
import assert from "node:assert/strict";
import { events, secrets } from "../../lib/kube/resources.ts";
import { tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import {
  assertNothingLeft,
  assertSameEnd,
  isPrepared,
  isReady,
  type Story,
} from "./crash_stories.ts";
import { Cluster, route, type Wrap } from "./harness.ts";

function specAt(host: string, tokenRef: unknown = { name: "relay-api" }) {
  const registration = { api: { endpoint: `https://${host}:8444`, tokenRef } };
  return { relay: { url: `wss://${host}/connect`, registration } };
}

function statusOf(cluster: Cluster): Record<string, unknown> {
  return cluster.kube.read(tunnels, "apps", "home")!["status"] as Record<string, unknown>;
}

/** Ready at the relay of its spec, and nowhere else. */
async function arrived(cluster: Cluster, host: string): Promise<void> {
  await eventually(
    () => {
      const { endpoint, formerRelays } = statusOf(cluster);
      return endpoint === `https://${host}:8444` && formerRelays === undefined;
    },
    () => `the tunnel to be at ${host} alone; its status is ${JSON.stringify(statusOf(cluster))}`,
    60_000,
  );
  await cluster.ready();
}

Deno.test("a Tunnel that moves leaves nothing at the relay before, once its agents are at the new one", async () => {
  const cluster = new Cluster();
  const other = cluster.addRelay("other.test");
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  const order: string[] = [];
  await using _ = cluster.start({
    relay: (fetch) => async (url, init, tls) => {
      const answer = await fetch(url, init, tls);
      const { host, pathname } = new URL(url);
      const kind = pathname.split("/")[3];
      if (init.method === "PUT" && kind === "clusters") order.push(`put at ${host}`);
      if (init.method === "DELETE") {
        const agents = other.sessions("apps-home").length;
        order.push(`delete ${kind} at ${host} with ${agents} agents elsewhere`);
      }
      return answer;
    },
  });
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  cluster.putTunnel(specAt("other.test"));
  await arrived(cluster, "other.test");
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  assert.deepEqual([cluster.relay.clusters.size, cluster.relay.services.size], [0, 0]);
  assert.deepEqual([other.clusters.size, other.services.size], [1, 1]);
  assert.deepEqual(order.slice(0, 4), [
    "put at relay.test:8444",
    "put at other.test:8444",
    "delete services at relay.test:8444 with 2 agents elsewhere",
    "delete clusters at relay.test:8444 with 2 agents elsewhere",
  ]);
});

Deno.test("what a moving Tunnel has stays at the relay before while no agent is at the new one", async () => {
  const cluster = new Cluster();
  const other = cluster.addRelay("other.test");
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  const { sessions } = other;
  other.sessions = () => [];
  cluster.putTunnel(specAt("other.test"));
  await cluster.condition(tunnels, "home", "Connected", "Connecting");
  await eventually(() => other.services.size === 1, "the service at the new relay");
  const reads = cluster.kube.requests.length;
  await eventually(() => cluster.kube.requests.length > reads + 50, "several looks");
  assert.deepEqual([cluster.relay.clusters.size, cluster.relay.services.size], [1, 1]);
  other.sessions = sessions;
  await arrived(cluster, "other.test");
  assert.deepEqual([cluster.relay.clusters.size, cluster.relay.services.size], [0, 0]);
});

Deno.test("another address of the same relay is no other relay: nothing is deleted there", async () => {
  const cluster = new Cluster();
  cluster.addAlias("alias.test");
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  const { relay: { registration } } = specAt("alias.test");
  cluster.putTunnel({ relay: { url: "wss://relay.test/connect", registration } });
  await arrived(cluster, "alias.test");
  await eventually(
    () => JSON.stringify(cluster.kube.all(tunnelBindings)).includes("https://alias.test:8444"),
    "the binding to be there",
  );
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  assert.deepEqual(cluster.relay.calls.filter((call) => call.startsWith("DELETE")), []);
  assert.deepEqual([cluster.relay.clusters.size, cluster.relay.services.size], [1, 1]);
});

Deno.test("a relay before that can't be reached is given up after a while, with an Event", async () => {
  const cluster = new Cluster();
  const other = cluster.addRelay("other.test");
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start({ settings: { orphanMs: 1_500 } });
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  cluster.relay.isAway = true;
  cluster.putTunnel(specAt("other.test"));
  await arrived(cluster, "other.test");
  const orphans = () => cluster.kube.all(events).filter(({ reason }) => reason === "Orphaned");
  await eventually(() => orphans().length > 0, "the Event");
  assert.match(String(orphans()[0]!["note"]), /apps-home at https:\/\/relay\.test:8444 was left/);
  await eventually(
    () => !JSON.stringify(cluster.kube.all(tunnelBindings)).includes("https://relay.test"),
    "the binding to let it go",
  );
  assert.equal(other.services.size, 1);
});

Deno.test("the token of the relay before is used there, though its Secret has another one now", async () => {
  const cluster = new Cluster();
  const other = cluster.addRelay("other.test");
  other.tokens.clear();
  other.tokens.set("other-token", { prefixes: [""], suffixes: [""] });
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  cluster.kube.put(secrets, {
    metadata: { name: "relay-api", namespace: "apps" },
    data: { token: btoa("other-token") },
  });
  cluster.putTunnel(specAt("other.test"));
  await arrived(cluster, "other.test");
  assert.equal(cluster.relay.clusters.size, 0);
});

/** A cluster whose Tunnel has one Secret for two relays that know other tokens. */
function withOneSecret() {
  const cluster = new Cluster();
  const other = cluster.addRelay("other.test");
  other.tokens.set("other-token", { prefixes: [""], suffixes: [""] });
  /** Requests to the first relay with the other one's token. */
  const told: string[] = [];
  const wrap: Wrap = {
    settings: { orphanMs: 1_500 },
    relay: (fetch) => async (url, init, tls) => {
      const isOthers = new Headers(init.headers).get("authorization")?.includes("other-token");
      if (isOthers && new URL(url).host === "relay.test:8444") told.push(`${init.method} ${url}`);
      return await fetch(url, init, tls);
    },
  };
  const changeToken = () =>
    cluster.kube.put(secrets, {
      metadata: { name: "relay-api", namespace: "apps" },
      data: { token: btoa("other-token") },
    });
  const orphaned = async () => {
    const isThere = () => cluster.kube.all(events).some(({ reason }) => reason === "Orphaned");
    await eventually(isThere, "the Event", 60_000);
    const event = cluster.kube.all(events).find(({ reason }) => reason === "Orphaned");
    return String(event!["note"]);
  };
  cluster.putTunnel();
  return { cluster, other, told, wrap, changeToken, orphaned };
}

Deno.test("after a restart, the relay before is not told the token of the new one", async () => {
  const { cluster, told, wrap, changeToken, orphaned } = withOneSecret();
  {
    await using _ = cluster.start(wrap);
    await cluster.ready();
  }
  changeToken();
  cluster.putTunnel(specAt("other.test"));
  await using _ = cluster.start(wrap);
  const note = await orphaned();
  assert.match(
    note,
    /apps-home at https:\/\/relay\.test:8444 was left: Secret apps\/relay-api has/,
  );
  await arrived(cluster, "other.test");
  assert.deepEqual(told, []);
});

Deno.test("a relay before that refuses its token is not told the token of the new one", async () => {
  const { cluster, other, told, wrap, changeToken, orphaned } = withOneSecret();
  await using _ = cluster.start(wrap);
  await cluster.ready();
  const { sessions } = other;
  other.sessions = () => [];
  cluster.putTunnel(specAt("other.test"));
  await eventually(() => other.clusters.size === 1, "the entry at the new relay");
  cluster.relay.tokens.clear();
  changeToken();
  other.sessions = sessions;
  assert.match(await orphaned(), /apps-home at https:\/\/relay\.test:8444 was left/);
  await arrived(cluster, "other.test");
  assert.deepEqual(told, []);
});

Deno.test("the new relay's token that was kept for clean-up is not told to the one before", async () => {
  const { cluster, other, told, wrap, changeToken, orphaned } = withOneSecret();
  other.sessions = () => [];
  {
    await using _ = cluster.start(wrap);
    await cluster.ready();
  }
  changeToken();
  cluster.putTunnel(specAt("other.test"));
  {
    await using _ = cluster.start({ ...wrap, settings: {} });
    await eventually(() => other.clusters.size === 1, "the entry at the new relay");
  }
  cluster.kube.remove(secrets, "apps", "relay-api");
  cluster.kube.remove(tunnels, "apps", "home");
  await using _ = cluster.start(wrap);
  assert.match(await orphaned(), /apps-home at https:\/\/relay\.test:8444 was left/);
  await eventually(() => cluster.kube.all(tunnels).length === 0, "the Tunnel to go", 60_000);
  assert.equal(other.clusters.size, 0);
  assert.deepEqual(told, []);
});

Deno.test("a Tunnel that is deleted on the way leaves nothing at either relay", async () => {
  const cluster = new Cluster();
  const other = cluster.addRelay("other.test");
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  other.sessions = () => [];
  cluster.putTunnel(specAt("other.test"));
  await eventually(() => other.services.size === 1, "the service at the new relay");
  cluster.kube.remove(tunnels, "apps", "home");
  await eventually(() => cluster.kube.all(tunnels).length === 0, "the Tunnel to go", 60_000);
  for (const relay of [cluster.relay, other]) {
    assert.deepEqual([relay.clusters.size, relay.services.size], [0, 0]);
  }
});

Deno.test("a Tunnel that turns from the admin API to a token of the relay's leaves its entry", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  const existing = { tokenRef: { name: "relay-api", key: "token" } };
  cluster.putTunnel({ relay: { url: "wss://own.test/connect", registration: { existing } } });
  await eventually(() => cluster.relay.clusters.size === 0, "the entry to go");
  await eventually(() => statusOf(cluster)["formerRelays"] === undefined, "the status");
  await cluster.ready();
  assert.deepEqual([statusOf(cluster)["endpoint"], statusOf(cluster)["place"]], [
    undefined,
    undefined,
  ]);
});

/** By cluster: the relay that its tunnel goes to. */
const others = new WeakMap<Cluster, ReturnType<Cluster["addRelay"]>>();

const story: Story = {
  isPrepared,
  name: "a Tunnel moves to another relay",
  cluster() {
    const cluster = new Cluster();
    others.set(cluster, cluster.addRelay("other.test"));
    return cluster;
  },
  before(cluster) {
    cluster.putTunnel();
    cluster.putBinding("shop", [route("main", "shop.example.com")]);
  },
  act: (cluster) => cluster.putTunnel(specAt("other.test")),
  isDone: (cluster) =>
    isReady(cluster) && cluster.relay.clusters.size === 0 &&
    others.get(cluster)!.services.size === 1 &&
    statusOf(cluster)["formerRelays"] === undefined,
  outside: (cluster) => {
    const { clusters, services } = others.get(cluster)!;
    return Promise.resolve([[...clusters.keys()], [...services.keys()]]);
  },
};

Deno.test(`the operator is killed after any write while ${story.name}: the end is the same`, async () => {
  await assertSameEnd(story);
});

Deno.test(`the operator is killed after any write while ${story.name}, and all is deleted: nothing is left`, async () => {
  await assertNothingLeft(story);
});
