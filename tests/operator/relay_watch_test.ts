/** What changes at the relay is seen at once, and not only with the next resync. */
import assert from "node:assert/strict";
import { configMaps, events, secrets } from "../../lib/kube/resources.ts";
import type { RelayFetch } from "../../lib/operator/relay/relay_api.ts";
import { RelayWatches } from "../../lib/operator/relay/relay_watches.ts";
import { NameBudget } from "../../lib/operator/relay/watched_names.ts";
import { tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { keptLog } from "../kube/kube_setup.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, conditionsOf, endpoint, route } from "./harness.ts";

async function watched(cluster: Cluster): Promise<void> {
  await eventually(() => cluster.relay.watches.size === 1, "one watch of the relay");
}

Deno.test("an entry that is deleted at the relay is NotFound at once, and put again", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const reasons: unknown[] = [];
  await using _ = cluster.start({
    kube: (fetch) => async (path, init) => {
      const answer = await fetch(path, init);
      if (init.method !== "GET" && path.includes("/tunnels/home/status")) {
        const conditions = conditionsOf(cluster.kube.read(tunnels, "apps", "home"));
        reasons.push(conditions.find(({ type }) => type === "Registered")?.reason);
      }
      return answer;
    },
  });
  await cluster.ready();
  await watched(cluster);
  reasons.length = 0;
  cluster.relay.lose("clusters", "apps-home");
  await eventually(() => cluster.relay.clusters.has("apps-home"), "the entry to be back");
  await cluster.ready();
  assert.deepEqual(reasons, ["NotFound", "Registered"]);
  const told = cluster.kube.all(events).filter(({ reason }) => reason === "NotFound");
  assert.equal(told.length, 1);
});

Deno.test("what somebody's proxy tells of the relay is about their own tunnel alone", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const proxy = cluster.addProxy("http://proxy.test:3128");
  const data = { proxy: "http://proxy.test:3128" };
  cluster.kube.put(configMaps, { metadata: { name: "proxy", namespace: "infra" }, data });
  cluster.kube.put(secrets, {
    metadata: { name: "relay-api", namespace: "infra" },
    data: { token: btoa("admin-token") },
  });
  const tokenRef = { name: "relay-api", key: "token" };
  const proxyRef = { kind: "ConfigMap", name: "proxy", key: "proxy" };
  const registration = { api: { endpoint, tokenRef, proxyRef } };
  const relay = { url: "wss://relay.test/connect", registration };
  cluster.putTunnel({ relay }, "theirs", "infra");
  await eventually(() => proxy.clusters.size === 1 && proxy.watches.size === 1, "their watch");
  const before = cluster.relay.writes.length;
  proxy.tell("DELETED", "clusters", { id: "apps-home" });
  for (const name of cluster.relay.services.keys()) proxy.tell("DELETED", "services", { name });
  proxy.lose("clusters", "infra-theirs");
  await eventually(() => proxy.clusters.size === 1, "their own entry to be put again");
  await cluster.ready(tunnelBindings, "shop");
  assert.deepEqual(cluster.relay.writes.slice(before), []);
});

Deno.test("a service that is deleted at the relay is put again at once", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  await watched(cluster);
  const [[name]] = cluster.relay.services as unknown as [[string, unknown]];
  cluster.relay.lose("services", name);
  await eventually(() => cluster.relay.services.has(name), "the service to be back");
});

Deno.test("what was deleted while no watch was open is noticed by the next one", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using running = cluster.start();
  await cluster.ready();
  await watched(cluster);
  await eventually(() => running.operator.isSettled, "the operator to settle");
  const { relay } = cluster;
  relay.isExpired = true;
  relay.isAway = true;
  relay.endWatches();
  relay.clusters.delete("apps-home");
  relay.isAway = false;
  await eventually(() => relay.clusters.has("apps-home"), "the entry to be back");
  const queries = relay.watchQueries;
  assert.ok(queries.some((query) => query.startsWith("since=")), "it goes on where it was");
  assert.ok(queries.filter((query) => query === "").length >= 2, "and lists anew after a 410");
});

Deno.test("a pending tunnel is registered as soon as the relay accepts it", async () => {
  const cluster = new Cluster();
  const token = { prefixes: [""], suffixes: [""], autoAccept: false };
  cluster.relay.tokens.set("admin-token", token);
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.condition(tunnels, "home", "Registered", "PendingAcceptance");
  await watched(cluster);
  cluster.relay.tokens.set("admin-token", { ...token, autoAccept: true });
  cluster.relay.tell("MODIFIED", "clusters", { id: "apps-home", accepted: true });
  await cluster.ready();
});

Deno.test("watches end with their tunnels, and tunnels of one relay and token share one", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putTunnel({}, "other");
  {
    await using _ = cluster.start();
    await cluster.ready();
    await cluster.ready(tunnels, "other");
    await watched(cluster);
    for (const name of ["home", "other"]) cluster.kube.remove(tunnels, "apps", name);
    await eventually(() => cluster.kube.all(tunnels).length === 0, "the Tunnels to go");
    await eventually(() => cluster.relay.watches.size === 0, "the watch to end");
    cluster.putTunnel();
    await cluster.ready();
    await watched(cluster);
  }
  assert.equal(cluster.relay.watches.size, 0);
});

Deno.test("a Tunnel that goes without its finalizer leaves no watch behind", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  await watched(cluster);
  const { status: __, metadata, ...rest } = cluster.kube.read(tunnels, "apps", "home")!;
  const { finalizers: ___, ...bare } = metadata;
  cluster.kube.put(tunnels, { ...rest, metadata: { ...bare, finalizers: [] } });
  cluster.kube.remove(tunnels, "apps", "home");
  await eventually(() => cluster.relay.watches.size === 0, "the watch to end");
});

Deno.test("a relay that tells of objects without end is given up, and asked again later", async () => {
  const log = keptLog();
  let watches = 0;
  const watching = new RelayWatches({
    fetch: () => {
      watches++;
      let number = 0;
      const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
        const names = Array.from({ length: 1_000 }, () => `c${number++}`);
        const lines = names.map((id) =>
          JSON.stringify({ type: "ADDED", kind: "clusters", object: { id } })
        );
        controller.enqueue(new TextEncoder().encode(`${lines.join("\n")}\n`));
      };
      return Promise.resolve(new Response(new ReadableStream({ pull })));
    },
    changed() {},
    log,
    ...{ firstBackoffMs: 1, maxBackoffMs: 1 },
  });
  watching.follow([{ endpoint: "https://relay.test", token: "token" }]);
  await eventually(() => watches >= 2, "a second watch");
  await watching.stop();
  assert.match(JSON.stringify(log), /more than 100000 objects/);
});

Deno.test("a line without end of a relay's watch is not kept", async () => {
  const log = keptLog();
  const piece = new TextEncoder().encode("x".repeat(64 * 1024));
  let pieces = 0;
  let watches = 0;
  const watching = new RelayWatches({
    fetch: () => {
      watches++;
      const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
        pieces++;
        controller.enqueue(piece);
      };
      return Promise.resolve(new Response(new ReadableStream({ pull })));
    },
    changed() {},
    log,
    ...{ firstBackoffMs: 1, maxBackoffMs: 1 },
  });
  watching.follow([{ endpoint: "https://relay.test", token: "token" }]);
  await eventually(() => watches >= 2, "a second watch");
  await watching.stop();
  assert.match(JSON.stringify(log), /A line has more than 1048576 characters/);
  assert.ok(pieces <= watches * 20, `${pieces} pieces in ${watches} watches`);
});

/** Relays by their hosts, of which each lists names, and tells of further ones when it is asked to. */
class Relays {
  readonly #bodies = new Map<string, ReadableStreamDefaultController<Uint8Array>>();
  readonly #names: Readonly<Record<string, readonly string[]>>;

  constructor(names: Readonly<Record<string, readonly string[]>>) {
    this.#names = names;
  }

  readonly fetch: RelayFetch = (url) => {
    const { host } = new URL(url);
    const start = (body: ReadableStreamDefaultController<Uint8Array>) => {
      this.#bodies.set(host, body);
      this.tell(host, ...this.#names[host] ?? []);
      body.enqueue(new TextEncoder().encode(`{"type":"BOOKMARK","version":"1"}\n`));
    };
    return Promise.resolve(new Response(new ReadableStream({ start })));
  };

  tell(host: string, ...ids: readonly string[]): void {
    const lines = ids.map((id) =>
      `${JSON.stringify({ type: "ADDED", kind: "clusters", object: { id } })}\n`
    );
    this.write(host, lines.join(""));
  }

  write(host: string, text: string): void {
    this.#bodies.get(host)!.enqueue(new TextEncoder().encode(text));
  }
}

function namesOf(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}

function followed(relays: Relays, budget: NameBudget) {
  const log = keptLog();
  const seen: string[] = [];
  const watching = new RelayWatches({
    fetch: relays.fetch,
    changed: ({ name }) => seen.push(name),
    ...{ log, budget, firstBackoffMs: 1, maxBackoffMs: 3_600_000 },
  });
  const access = (host: string) => ({ endpoint: `https://${host}`, token: "token" });
  return { log, seen, watching, access };
}

function ended(log: ReturnType<typeof keptLog>, host: string): boolean {
  return log.lines.some((line) =>
    line.includes("Can't watch a relay") && line.includes(`https://${host}`)
  );
}

Deno.test("a relay that tells of more than there is memory for ends its own watch, and says so", async () => {
  const relays = new Relays({ "small.test": ["one"], "large.test": namesOf("large", 1_000) });
  const { log, seen, watching, access } = followed(relays, new NameBudget({ maxBytes: 10_000 }));
  watching.follow([access("small.test")]);
  await eventually(() => seen.includes("one"), "the small relay's name");
  watching.follow([access("small.test"), access("large.test")]);
  await eventually(() => ended(log, "large.test"), "the end of the large relay's watch");
  relays.tell("small.test", "two");
  await eventually(() => seen.includes("two"), "a change at the small relay");
  assert.ok(!ended(log, "small.test"));
  await watching.stop();
});

Deno.test("the watch that has most of the memory makes room for others", async () => {
  const relays = new Relays({ "large.test": namesOf("large", 100), "small.test": ["one"] });
  const budget = new NameBudget({ maxBytes: 10_000 });
  const { log, seen, watching, access } = followed(relays, budget);
  watching.follow([access("large.test")]);
  await eventually(() => seen.includes("large99"), "the large relay's names");
  watching.follow([access("large.test"), access("small.test")]);
  await eventually(() => seen.includes("one"), "the small relay's name");
  relays.tell("small.test", ...namesOf("small", 60));
  await eventually(() => seen.includes("small59"), "all names of the small relay");
  await eventually(() => ended(log, "large.test"), "the end of the large relay's watch");
  assert.ok(!ended(log, "small.test"));
  await watching.stop();
  assert.equal(budget.used, 0);
});

Deno.test("lines whose end does not come share the memory of all watches", async () => {
  const relays = new Relays({ "long.test": [], "longer.test": [], "small.test": ["one"] });
  const budget = new NameBudget({ maxBytes: 10_000 });
  const { log, seen, watching, access } = followed(relays, budget);
  watching.follow([access("long.test"), access("longer.test"), access("small.test")]);
  await eventually(() => seen.includes("one"), "the small relay's name");
  relays.write("long.test", "x".repeat(2_000));
  await eventually(() => budget.used > 4_000, "the line to count by its bytes");
  relays.write("longer.test", "x".repeat(2_200));
  await eventually(() => budget.used > 8_000, "a second line");
  relays.write("longer.test", "x".repeat(1_000));
  await eventually(() => ended(log, "longer.test"), "the end of the watch that has most");
  assert.ok(budget.used > 4_000 && budget.used < 5_000, `${budget.used} bytes`);
  relays.write("long.test", "\n");
  await eventually(() => budget.used < 1_000, "the line to be given back");
  assert.ok(!ended(log, "small.test"));
  await watching.stop();
  assert.equal(budget.used, 0);
});

Deno.test("a namespace with more relays than are watched leaves watches to others", async () => {
  const cluster = new Cluster();
  const put = (number: number) => {
    const name = `token-${number}`;
    const data = { token: btoa("admin-token") };
    cluster.kube.put(secrets, { metadata: { name, namespace: "infra" }, data });
    cluster.addAlias(`relay-${number}.test`);
    const api = { endpoint: `https://relay-${number}.test:8444`, tokenRef: { name, key: "token" } };
    const relay = { url: "wss://relay.test/connect", registration: { api } };
    cluster.putTunnel({ relay }, `many-${number}`, "infra");
  };
  for (let number = 0; number < 66; number++) put(number);
  await using _ = cluster.start({ settings: { checkMs: 1_000 } });
  await eventually(() => cluster.relay.watches.size === 64, "as many watches as there may be");
  const other = cluster.addRelay("other.test");
  const tokenRef = { name: "relay-api", key: "token" };
  const api = { endpoint: "https://other.test:8444", tokenRef };
  cluster.putTunnel({ relay: { url: "wss://other.test/connect", registration: { api } } });
  await eventually(() => other.watches.size === 1, "the other namespace's watch");
  await eventually(() => cluster.relay.watches.size === 63, "one watch less");
});
