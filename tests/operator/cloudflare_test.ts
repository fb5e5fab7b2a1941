import assert from "node:assert/strict";
import { tunnelBindings } from "../../lib/operator/api/crds.ts";
import { Cloudflare } from "../../lib/operator/dns/cloudflare.ts";
import { systemTimers } from "../../lib/operator/dns/batcher.ts";
import type { DnsRecord } from "../../lib/operator/dns/records.ts";
import type { DnsOutcome } from "../../lib/operator/dns/rfc2136.ts";
import { eventually } from "../support/deadline.ts";
import { FakeCloudflare } from "../support/fake_cloudflare.ts";
import { ManualClock } from "../support/manual_clock.ts";
import { Cluster, route } from "./harness.ts";

function record(name: string, target = "relay.example.net"): DnsRecord {
  return { name: `${name}.example.com`, type: "CNAME", target, ttl: 300 };
}

const timing = { quietMs: 1, maxQuietMs: 1, maxMs: 1 };

/** A client with a clock of the test's, which gathers for a real millisecond. */
function client(api: Pick<FakeCloudflare, "fetch" | "zone" | "token">) {
  const clock = { ms: 0, nowMs: () => clock.ms, after: systemTimers.after };
  const dns = new Cloudflare({ fetch: api.fetch, timing, timers: clock });
  const zone = { name: api.zone, token: api.token };
  return { dns, zone, clock };
}

/** A client with the operator's own timing, by a clock of the test's. */
function clocked(api: Pick<FakeCloudflare, "fetch" | "zone" | "token">) {
  const clock = new ManualClock();
  const dns = new Cloudflare({ fetch: api.fetch, timers: clock });
  return { dns, zone: { name: api.zone, token: api.token }, clock };
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

Deno.test("300 names that come within a minute take ten calls, and so do 300 that go", async () => {
  const api = new FakeCloudflare();
  for (let index = 0; index < 150; index++) api.put("A", `other${index}.example.com`, "192.0.2.1");
  const { dns, zone, clock } = clocked(api);
  for (const change of ["put", "remove"] as const) {
    const outcomes: Promise<DnsOutcome>[] = [];
    const before = api.calls.length;
    for (let index = 0; index < 300; index++) {
      outcomes.push(dns[change](zone, record(`name${index}`), ours));
      await clock.pass(200);
    }
    await clock.pass(15_000);
    assert.ok((await Promise.all(outcomes)).every(({ kind }) => kind === "done"));
    const calls = api.calls.slice(before);
    assert.ok(calls.length <= 10, calls.join("\n"));
    assert.equal(api.records.size, change === "put" ? 150 + 600 : 150);
  }
});

Deno.test("a token with 10,000 waiting changes keeps no other token from changing anything", async () => {
  const api = new FakeCloudflare();
  const { dns, zone, clock } = clocked({
    ...{ zone: api.zone, token: api.token },
    fetch: (url, init) =>
      init.headers["authorization"]?.endsWith(api.token)
        ? new Promise(() => {})
        : api.fetch(url, init),
  });
  for (let index = 0; index < 10_000; index++) void dns.put(zone, record(`name${index}`), ours);
  const second = { ...zone, token: api.addToken("second-token") };
  const other = dns.put(second, record("web"), theirs);
  assert.deepEqual(await dns.put(zone, record("more"), ours), {
    kind: "unreachable",
    reason: "Too many changes wait for Cloudflare",
  });
  assert.equal(dns.waiting, 10_001);
  await clock.pass(1_000);
  assert.deepEqual(await other, { kind: "done" });
  assert.equal(dns.waiting, 10_000);
});

Deno.test("a name alone is changed after a second", async () => {
  const api = new FakeCloudflare();
  const { dns, zone, clock } = clocked(api);
  const outcome = dns.put(zone, record("web"), ours);
  await clock.pass(999);
  assert.deepEqual(api.calls, []);
  await clock.pass(1);
  assert.deepEqual(api.contents("CNAME", "web.example.com"), ["relay.example.net"]);
  assert.deepEqual(await outcome, { kind: "done" });
  assert.equal(dns.waiting, 0);
});

Deno.test("what a zone has is read right before each change", async (t) => {
  const api = new FakeCloudflare();
  const { dns, zone } = client(api);
  const [claim, cname] = ["_culvert.web.example.com", "web.example.com"];
  const idOf = (name: string) => [...api.records.values()].find((it) => it.name === name)!;
  const read = () => dns.put(zone, record("read"), ours);
  await dns.put(zone, record("web"), ours);
  await t.step(
    "a record that has become another owner's is neither changed nor removed",
    async () => {
      await read();
      const { id, ...claimed } = idOf(claim);
      api.records.set(id, { ...claimed, id, content: `"${theirs}"` });
      const changed = record("web", "relay2.example.net");
      assert.deepEqual(await dns.put(zone, changed, ours), { kind: "taken" });
      assert.deepEqual(await dns.remove(zone, record("web"), ours), { kind: "done" });
      assert.deepEqual(api.contents("CNAME", cname), ["relay.example.net"]);
      api.records.set(id, { ...claimed, id });
    },
  );
  await t.step("one that points elsewhere now stays", async () => {
    await read();
    const { id, ...pointing } = idOf(cname);
    api.records.set(id, { ...pointing, id, content: "by-hand.example.net" });
    assert.deepEqual(await dns.remove(zone, record("web"), ours), { kind: "done" });
    assert.deepEqual(api.contents("CNAME", cname), ["by-hand.example.net"]);
    assert.deepEqual(api.contents("TXT", claim), []);
  });
  await t.step(
    "while many batches are sent, the zone is read again after five seconds",
    async () => {
      const { dns, zone, clock } = clocked(api);
      const late = "name149.example.com";
      api.intercept = (method, path) => {
        // Another owner takes the last name while the first batches are under way.
        if (method === "POST" && path.endsWith("batch") && api.contents("A", late).length === 0) {
          clock.skip(6_000);
          api.put("A", late, "192.0.2.1");
        }
        return undefined;
      };
      const outcomes = Array.from(
        { length: 150 },
        (_, index) => dns.put(zone, record(`name${index}`), ours),
      );
      await clock.pass(1_000);
      const kinds = (await Promise.all(outcomes)).map(({ kind }) => kind);
      assert.deepEqual([kinds.filter((it) => it === "done").length, kinds.at(-1)], [149, "taken"]);
    },
  );
});

Deno.test("what is wanted of one name at once is done one after the other, and each outcome is true", async () => {
  const api = new FakeCloudflare();
  const { dns, zone } = client(api);
  await dns.put(zone, record("web"), ours);
  const outcomes = await Promise.all([
    dns.put(zone, record("web"), theirs),
    dns.put(zone, record("web", "relay2.example.net"), ours),
    dns.remove(zone, record("web", "relay2.example.net"), ours),
    dns.put(zone, record("web", "relay3.example.net"), theirs),
    dns.put(zone, record("web"), ours),
  ]);
  assert.deepEqual(outcomes.map(({ kind }) => kind), ["taken", "done", "done", "done", "taken"]);
  assert.deepEqual(api.contents("CNAME", "web.example.com"), ["relay3.example.net"]);
  assert.deepEqual(api.contents("TXT", "_culvert.web.example.com"), [`"${theirs}"`]);
});

Deno.test("of two owners with two tokens who want a name at once, one has it", async () => {
  const api = new FakeCloudflare();
  const { dns, zone } = client({
    ...{ zone: api.zone, token: api.token },
    async fetch(url, init) {
      // Long enough for the other one to read the zone, if it did not wait.
      if (init.method === "POST") await new Promise((resolve) => setTimeout(resolve, 50));
      return await api.fetch(url, init);
    },
  });
  const other = { ...zone, token: api.addToken("second-token") };
  const outcomes = await Promise.all([
    dns.put(zone, record("web"), ours),
    dns.put(other, record("web", "relay2.example.net"), theirs),
  ]);
  assert.deepEqual(outcomes.map(({ kind }) => kind).sort(), ["done", "taken"]);
  assert.equal(api.records.size, 2);
});

Deno.test("a batch whose answer is lost is looked at again, and nothing is made twice", async () => {
  const api = new FakeCloudflare();
  const { dns, zone } = client({
    ...{ zone: api.zone, token: api.token },
    async fetch(url, init) {
      const answer = await api.fetch(url, init);
      if (init.method === "POST" && api.calls.length <= 3) throw new Error("connection lost");
      return answer;
    },
  });
  const both = () => Promise.all(["one", "two"].map((name) => dns.put(zone, record(name), ours)));
  const lost = { kind: "unreachable", reason: "connection lost" };
  assert.deepEqual(await both(), [lost, lost]);
  assert.equal(api.records.size, 4);
  assert.deepEqual(await both(), [{ kind: "done" }, { kind: "done" }]);
  assert.equal(api.records.size, 4);
  assert.equal(api.calls.filter((call) => call.startsWith("POST")).length, 1);
});

Deno.test("a record on the second page is found, and left alone if it is another's", async () => {
  const api = new FakeCloudflare();
  api.maxPerPage = 100;
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
  const blocked = (retryAfterMs: number) => ({
    kind: "unreachable",
    reason: "Cloudflare was asked too often; it is left alone for five minutes",
    retryAfterMs,
  });
  api.intercept = () => new Response("{}", { status: 429 });
  assert.deepEqual(await dns.put(zone, record("web"), ours), blocked(300_000));
  api.intercept = undefined;
  const calls = api.calls.length;
  clock.ms += 4 * 60_000;
  assert.deepEqual(await dns.put(zone, record("web"), ours), blocked(60_000));
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
    timing,
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

Deno.test("names that Cloudflare refuses are found among others with few calls", async () => {
  const api = new FakeCloudflare();
  api.refuses = ({ name }) => name === "name40.example.com";
  const { dns, zone } = client(api);
  const put = (names: number) =>
    Promise.all(Array.from({ length: names }, (_, at) => dns.put(zone, record(`name${at}`), ours)));
  const kinds = (await put(100)).map(({ kind }) => kind);
  assert.deepEqual(
    kinds.flatMap((kind, at) => kind === "done" ? [] : [`${at} ${kind}`]),
    ["40 refused"],
  );
  assert.ok(api.calls.length <= 17, api.calls.join("\n"));
});

Deno.test("if Cloudflare refuses all names, a few calls find out, and the other names are tried later", async () => {
  const api = new FakeCloudflare();
  api.refuses = () => true;
  const { dns, zone } = client(api);
  const outcomes = await Promise.all(
    Array.from({ length: 100 }, (_, at) => dns.put(zone, record(`name${at}`), ours)),
  );
  assert.ok(api.calls.length <= 23, api.calls.join("\n"));
  assert.equal(outcomes[0]!.kind, "refused");
  assert.match(
    JSON.stringify(outcomes[99]),
    /"unreachable".*Other names .* may be refused: .*9999/,
  );
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
  // Its former routes may become ready first.
  await eventually(() => api.contents("CNAME", "api.example.com").length > 0, "the new record");
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
