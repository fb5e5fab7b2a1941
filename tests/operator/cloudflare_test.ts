import assert from "node:assert/strict";
import { tunnelBindings } from "../../lib/operator/api/crds.ts";
import { Cloudflare } from "../../lib/operator/dns/cloudflare.ts";
import type { DnsRecord } from "../../lib/operator/dns/records.ts";
import { eventually } from "../support/deadline.ts";
import { FakeCloudflare } from "../support/fake_cloudflare.ts";
import { Cluster, route } from "./harness.ts";

function record(name: string, target = "relay.example.net"): DnsRecord {
  return { name: `${name}.example.com`, type: "CNAME", target, ttl: 300 };
}

/** A client with a clock of the test's. */
function client(api: FakeCloudflare) {
  const clock = { ms: 0 };
  const dns = new Cloudflare({ fetch: api.fetch, batchMs: 1, nowMs: () => clock.ms });
  const zone = { name: api.zone, token: api.token };
  return { dns, zone, clock };
}

const ours = "heritage=culvert,culvert/owner=one,culvert/resource=tunnelbinding/apps/shop";
const theirs = ours.replace("one", "two");

Deno.test("300 names take a few calls, and no batch has more than 200 changes", async () => {
  const api = new FakeCloudflare();
  for (let index = 0; index < 150; index++) api.put("A", `other${index}.example.com`, "192.0.2.1");
  const { dns, zone } = client(api);
  const names = Array.from({ length: 300 }, (_, index) => `name${index}`);
  const outcomes = await Promise.all(names.map((name) => dns.put(zone, record(name), ours)));
  assert.ok(outcomes.every(({ kind }) => kind === "done"));
  assert.ok(api.calls.length <= 10, api.calls.join("\n"));
  assert.ok(api.largestBatch <= 200);
  assert.deepEqual(api.contents("CNAME", "name299.example.com"), ["relay.example.net"]);
  assert.deepEqual(api.contents("TXT", "_culvert.name299.example.com"), [`"${ours}"`]);
  assert.equal(api.records.size, 150 + 600);
});

Deno.test("a record on the second page is found, and left alone if it is another's", async () => {
  const api = new FakeCloudflare();
  for (let index = 0; index < 120; index++) api.put("A", `other${index}.example.com`, "192.0.2.1");
  const { dns, zone } = client(api);
  assert.deepEqual(await dns.put(zone, record("other119"), ours), { kind: "taken" });
  assert.deepEqual(api.contents("A", "other119.example.com"), ["192.0.2.1"]);
});

Deno.test("a name with another's claim is taken, and is not removed either", async () => {
  const api = new FakeCloudflare();
  const { dns, zone, clock } = client(api);
  assert.deepEqual(await dns.put(zone, record("web"), theirs), { kind: "done" });
  clock.ms += 60_000;
  assert.deepEqual(await dns.put(zone, record("web", "evil.example.net"), ours), { kind: "taken" });
  assert.deepEqual(await dns.remove(zone, record("web"), ours), { kind: "done" });
  assert.deepEqual(api.contents("CNAME", "web.example.com"), ["relay.example.net"]);
});

Deno.test("a record that was changed by hand stays, and only the claim goes", async () => {
  const api = new FakeCloudflare();
  const { dns, zone, clock } = client(api);
  await dns.put(zone, record("*"), ours);
  assert.deepEqual(api.contents("TXT", "_culvert._any.example.com"), [`"${ours}"`]);
  const [changed] = [...api.records.values()].filter(({ type }) => type === "CNAME");
  api.records.set(changed!.id, { ...changed!, content: "by-hand.example.net" });
  clock.ms += 60_000;
  assert.deepEqual(await dns.remove(zone, record("*"), ours), { kind: "done" });
  assert.deepEqual(api.contents("CNAME", "*.example.com"), ["by-hand.example.net"]);
  assert.equal(api.records.size, 1);
});

Deno.test("a list that fails or is none deletes nothing", async (t) => {
  const answers: Record<string, () => Response> = {
    "status 500": () => new Response("oops", { status: 500 }),
    "no list": () => Response.json({ success: true, result: null }),
    "a page of a proxy": () => new Response("<html>"),
  };
  for (const [name, answer] of Object.entries(answers)) {
    await t.step(name, async () => {
      const api = new FakeCloudflare();
      const { dns, zone, clock } = client(api);
      await dns.put(zone, record("web"), ours);
      clock.ms += 60_000;
      api.intercept = (method, path) =>
        method === "GET" && path.endsWith("dns_records") ? answer() : undefined;
      const outcome = await dns.remove(zone, record("web"), ours);
      assert.equal(outcome.kind, "unreachable");
      assert.equal(api.records.size, 2);
    });
  }
});

Deno.test("429 pauses all calls with the token for five minutes", async () => {
  const api = new FakeCloudflare();
  const { dns, zone, clock } = client(api);
  api.intercept = () => new Response("{}", { status: 429 });
  assert.equal((await dns.put(zone, record("web"), ours)).kind, "unreachable");
  api.intercept = undefined;
  const calls = api.calls.length;
  clock.ms += 4 * 60_000;
  assert.equal((await dns.put(zone, record("web"), ours)).kind, "unreachable");
  assert.equal(api.calls.length, calls);
  clock.ms += 60_001;
  assert.equal((await dns.put(zone, record("web"), ours)).kind, "done");
});

Deno.test("429 with one token does not pause another one", async () => {
  const [blocked, free] = [new FakeCloudflare(), new FakeCloudflare()];
  blocked.intercept = () => new Response("{}", { status: 429 });
  const authorization = `Bearer ${free.token}`;
  const dns = new Cloudflare({
    fetch: (url, init) =>
      (init.headers["authorization"] === authorization ? free : blocked).fetch(url, init),
    batchMs: 1,
  });
  const put = (token: string) =>
    dns.put({ name: token === free.token ? free.zone : "example.net", token }, record("web"), ours);
  assert.equal((await put("other")).kind, "unreachable");
  assert.deepEqual(await put(free.token), { kind: "done" });
});

Deno.test("a token is used for the changes of those who have it alone", async () => {
  const api = new FakeCloudflare();
  const { dns, zone } = client(api);
  const wrong = { ...zone, token: "another-tenants-token" };
  const names = ["one", "two"].map((name) => record(name));
  const outcomes = await Promise.all([
    dns.put(wrong, names[0]!, theirs),
    dns.put(zone, names[1]!, ours),
  ]);
  assert.deepEqual(outcomes.map(({ kind }) => kind), ["refused", "done"]);
  // The zone has been listed with the right one by now.
  assert.equal((await dns.put(wrong, record("three"), theirs)).kind, "refused");
  assert.equal((await dns.remove(wrong, names[1]!, ours)).kind, "refused");
  assert.deepEqual(
    [...api.records.values()].filter(({ type }) => type === "CNAME").map(({ name }) => name),
    ["two.example.com"],
  );
});

Deno.test("a change made with one token is seen with all tokens of the zone", async () => {
  const api = new FakeCloudflare();
  const { dns, zone } = client(api);
  const other = { ...zone, token: api.addToken("second-token") };
  assert.equal((await dns.put(other, record("first"), theirs)).kind, "done");
  assert.equal((await dns.put(zone, record("web"), ours)).kind, "done");
  assert.equal((await dns.put(other, record("web"), theirs)).kind, "taken");
});

Deno.test("a name is the same in punycode, in capitals, and with a dot at its target's end", async () => {
  const api = new FakeCloudflare();
  const { dns, zone } = client(api);
  const name = "xn--mller-kva";
  api.put("CNAME", "*.Müller.example.com", "Relay.Example.net.");
  api.put("TXT", "_culvert._any.müller.example.com", ours);
  const before = [...api.records.values()];
  const wanted = { ...record(`*.${name}`), ttl: 60 };
  api.records.set(before[0]!.id, { ...before[0]!, ttl: 60 });
  assert.deepEqual(await dns.put(zone, wanted, ours), { kind: "done" });
  assert.equal(api.largestBatch, 0, "nothing had to change");
  assert.deepEqual(await dns.put(zone, record(`*.${name}`), theirs), { kind: "taken" });
  assert.deepEqual(await dns.remove(zone, wanted, ours), { kind: "done" });
  assert.equal(api.records.size, 0);
});

Deno.test("a name in a part of the zone that other name servers have is refused", async () => {
  const api = new FakeCloudflare();
  api.put("NS", "sub.example.com", "ns.example.org");
  const { dns, zone } = client(api);
  for (const name of ["sub", "web.sub", "*.a.sub"]) {
    const outcome = await dns.put(zone, record(name), ours);
    assert.match(JSON.stringify(outcome), /refused.*delegates it to other name servers/, name);
  }
  assert.equal(api.records.size, 1);
});

Deno.test("one name that Cloudflare refuses does not keep the others from their records", async () => {
  const api = new FakeCloudflare();
  const { dns, zone } = client(api);
  await dns.put(zone, record("first"), ours);
  // Made by somebody between the look and the change.
  api.put("A", "late.example.com", "192.0.2.1");
  const [good, bad] = await Promise.all([
    dns.put(zone, record("good"), ours),
    (async () => {
      api.intercept = (method, path) => {
        if (method !== "GET" || !path.endsWith("dns_records")) return undefined;
        const others = [...api.records.values()].filter(({ name }) => name !== "late.example.com");
        return Response.json({ success: true, result: others, result_info: { total_pages: 1 } });
      };
      return await dns.put(zone, record("late"), ours);
    })(),
  ]);
  assert.equal(good.kind, "done");
  assert.equal(bad.kind, "refused");
  assert.match(JSON.stringify(bad), /81053/);
  assert.deepEqual(api.contents("A", "late.example.com"), ["192.0.2.1"]);
});

Deno.test("a binding's hostnames get records at Cloudflare, and lose them with it", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  cluster.putCloudflareToken("wrong");
  cluster.putTunnel({
    dns: {
      ...{ provider: "Cloudflare", target: "relay.example.net", zone: api.zone, proxied: true },
      secretRef: { name: "cloudflare" },
    },
  });
  cluster.putBinding("shop", [route("main", "shop.example.com"), route("all", "*.example.com")]);
  await using running = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Refused");
  cluster.putCloudflareToken(api.token);
  cluster.putBinding("shop", [route("main", "shop.example.com"), route("api", "api.example.com")]);
  await cluster.ready(tunnelBindings, "shop");
  const [shop] = [...api.records.values()].filter(({ name }) => name === "shop.example.com");
  assert.equal(shop!.proxied, true);
  assert.deepEqual(api.contents("CNAME", "api.example.com"), ["relay.example.net"]);
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await eventually(
    () => cluster.kube.read(tunnelBindings, "apps", "shop") === undefined,
    "the binding to go",
    60_000,
  );
  assert.equal(api.records.size, 0);
  assert.equal(running.log.lines.some((line) => line.includes(api.token)), false);
});

Deno.test("records that are looked at again and again cause no write to the API server", async () => {
  const cluster = new Cluster();
  cluster.useCloudflare();
  cluster.putTunnel({
    dns: {
      ...{ provider: "Cloudflare", target: "relay.example.net", zone: "example.com" },
      secretRef: { name: "cloudflare" },
    },
  });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start({ settings: { resyncMs: 100 } });
  await cluster.ready(tunnelBindings, "shop");
  const puts = () => cluster.relay.calls.filter((call) => call.startsWith("PUT")).length;
  const from = puts();
  await eventually(() => puts() > from + 10, "resyncs");
  const written = cluster.kube.writes.length;
  const now = puts();
  await eventually(() => puts() > now + 20, "further resyncs");
  assert.deepEqual(cluster.kube.writes.slice(written).map(({ path }) => path), []);
});
