/** Which records a binding's hostnames get, and what is said of those that get none. */
import assert from "node:assert/strict";
import type { KubeObject } from "../../lib/kube/objects.ts";
import { secrets, services } from "../../lib/kube/resources.ts";
import { clusterTunnels, tunnelBindings } from "../../lib/operator/api/crds.ts";
import { namesBetween, recordDataOf } from "../../lib/operator/dns/records.ts";
import { SilentServers } from "../../lib/operator/dns/silent_servers.ts";
import type { DnsOutcome, Zone } from "../../lib/operator/dns/rfc2136.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, conditionsOf, route, tunnelSpec } from "./harness.ts";

const encoder = new TextEncoder();

Deno.test("a target is a name or an address in its canonical form, or nothing", () => {
  const cases: [string, string | undefined][] = [
    ["relay.example.com", "CNAME relay.example.com"],
    ["Relay.Example.COM.", "CNAME relay.example.com"],
    ["localhost", "CNAME localhost"],
    ["192.0.2.7", "A 192.0.2.7"],
    ["2001:DB8::0007", "AAAA 2001:db8::7"],
    ["::ffff:192.0.2.1", "AAAA ::ffff:c000:201"],
    ...["300.1.1.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1::2::3", "1:2:3", "zz::1", "", ".", "a..b"]
      .map((text): [string, undefined] => [text, undefined]),
    ["x".repeat(64), undefined],
  ];
  for (const [text, expected] of cases) {
    const data = recordDataOf(text);
    assert.equal(data && `${data.type} ${data.target}`, expected, text);
  }
});

Deno.test("names between a hostname and its zone are those that could be delegated", () => {
  assert.deepEqual(namesBetween("a.b.example.com", "example.com"), ["b.example.com"]);
  assert.deepEqual(namesBetween("*.a.b.example.com", "example.com"), [
    "a.b.example.com",
    "b.example.com",
  ]);
  assert.deepEqual(namesBetween("a.example.com", "example.com"), []);
  assert.deepEqual(namesBetween("example.com", "example.com"), []);
});

function zoneAt(server: string, { name = "example.com", secret = "one" } = {}): Zone {
  const key = {
    name: "culvert",
    algorithm: "hmac-sha256",
    secret: encoder.encode(secret),
  } as const;
  return { name, server, key };
}

Deno.test("what a name server does not answer is asked again after a while, and all else goes on", async () => {
  let nowMs = 0;
  const servers = new SilentServers(10_000, () => nowMs);
  let asked = 0;
  const ask = (zone: Zone, outcome: DnsOutcome) =>
    servers.unlessSilent(zone, () => {
      asked++;
      return Promise.resolve(outcome);
    });
  const silent: DnsOutcome = { kind: "unreachable", reason: "no answer" };
  const done: DnsOutcome = { kind: "done" };
  assert.equal(await ask(zoneAt("ns"), silent), silent);
  assert.equal(await ask(zoneAt("ns"), done), silent);
  assert.equal(asked, 1);
  const others = [
    zoneAt("other"),
    zoneAt("ns", { name: "example.org" }),
    zoneAt("ns", { secret: "two" }),
  ];
  for (const other of others) assert.equal(await ask(other, done), done);
  assert.equal(asked, 4);
  assert.equal(await ask(zoneAt("ns"), done), silent, "others' answers do not end a pause");
  nowMs = 10_000;
  assert.equal(await ask(zoneAt("ns"), done), done);
  assert.equal(await ask(zoneAt("ns"), done), done);
});

function rfc2136(more: Record<string, unknown> = {}) {
  return {
    ...{ provider: "RFC2136", target: "relay.example.net", zone: "example.com" },
    ...{ server: "ns.example.com:53", secretRef: { name: "tsig" }, ...more },
  };
}

function putKey({ kube }: Cluster, namespace = "apps", keyname = "culvert"): void {
  const data = { keyname: btoa(keyname), secret: btoa(btoa("x".repeat(32))) };
  kube.put(secrets, { metadata: { name: "tsig", namespace }, data });
}

Deno.test("a name server that hangs does not hold up hundreds of names, and routes are published", async () => {
  const cluster = new Cluster();
  putKey(cluster);
  let exchanges = 0;
  cluster.exchange = () => {
    exchanges++;
    return Promise.reject(new Error("ns.example.com:53 did not answer in time"));
  };
  cluster.putTunnel({ dns: rfc2136() });
  const names = Array.from({ length: 16 }, (_, index) => `name${index}`);
  for (const binding of ["one", "two", "three"]) {
    const routes = names.map((name) => route(name, `${name}.${binding}.example.com`));
    cluster.putBinding(binding, routes);
  }
  await using _ = cluster.start();
  for (const binding of ["one", "two", "three"]) {
    await cluster.condition(tunnelBindings, binding, "Programmed", "Programmed");
    await cluster.condition(tunnelBindings, binding, "DNSReady", "Unreachable");
  }
  assert.ok(exchanges < 48, `${exchanges} questions about 48 names`);
});

Deno.test("a name server that is silent for one tenant's key is asked by others at once", async () => {
  const cluster = new Cluster();
  putKey(cluster);
  putKey(cluster, "infra", "dropped");
  let refusals = 0;
  cluster.exchange = (_, message) => {
    if (isSignedBy(message, "dropped")) return Promise.reject(new Error("no answer in time"));
    refusals++;
    return Promise.resolve(refusalOf(message));
  };
  cluster.kube.put(secrets, {
    metadata: { name: "relay-api", namespace: "infra" },
    data: { token: btoa("admin-token") },
  });
  cluster.kube.put(services, {
    metadata: { name: "web", namespace: "infra" },
    spec: { ports: [{ port: 80 }] },
  });
  for (const namespace of ["infra", "apps"]) {
    cluster.putTunnel({ dns: rfc2136() }, "home", namespace);
  }
  cluster.putBinding("shop", [route("main", "infra.example.com")], { name: "home" }, "infra");
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Unreachable", "infra");
  assert.equal(refusals, 0);
  cluster.putBinding("shop", [route("main", "apps.example.com")]);
  const found = () =>
    conditionsOf(cluster.kube.read(tunnelBindings, "apps", "shop"))
      .find(({ type }) => type === "DNSReady");
  await eventually(() => found() !== undefined, "the first word about the other tenant's record");
  const isPending = () => found()!.reason === "Pending";
  await eventually(() => !isPending(), "the relay to have taken the hostname");
  assert.match(found()!.message, /apps.example.com: The name server answered REFUSED/);
});

function isSignedBy(message: Uint8Array, keyname: string): boolean {
  return new TextDecoder().decode(message).includes(keyname);
}

/** An answer without a signature, which only a refusal may be. */
function refusalOf(message: Uint8Array): Uint8Array {
  const refused = 5;
  return Uint8Array.of(message[0]!, message[1]!, 0xa8, refused, ...Array(8).fill(0));
}

Deno.test("the Secret of many records is read once for all that are looked at together", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  let reads = 0;
  cluster.kube.intercept = ({ path }) => {
    if (path.includes("/secrets/cloudflare")) reads++;
    return undefined;
  };
  const dns = { ...rfc2136(), provider: "Cloudflare", secretRef: { name: "cloudflare" } };
  cluster.putTunnel({ dns });
  const names = Array.from({ length: 60 }, (_, index) => `name${index}`);
  cluster.putBinding("shop", names.map((name) => route(name, `${name}.example.com`)));
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(api.records.size, 120);
  assert.ok(reads < 60, `${reads} reads`);
});

Deno.test("hostnames that can't have a record are named with the reason, and the others get theirs", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  putKey(cluster);
  const cases: Record<string, [string, string, RegExp]> = {
    apex: ["example.com", "ApexNeedsAddress", /apex of its zone.*set dns.target to an IP address/],
    outside: ["shop.example.org", "NotInZone", /shop.example.org is not in the zone example.com/],
    // A record's owner is at a name that is nine characters longer.
    long: [`${"a.".repeat(117)}example.com`, "NameTooLong", /its owner's record is at _culvert\./],
  };
  cluster.putTunnel({ dns: rfc2136() });
  for (const [name, [hostname]] of Object.entries(cases)) {
    cluster.putBinding(name, [route("main", hostname)]);
  }
  await using _ = cluster.start();
  for (const [name, [, reason, message]] of Object.entries(cases)) {
    const condition = await cluster.condition(tunnelBindings, name, "DNSReady", reason);
    assert.match(condition.message, message);
    await cluster.condition(tunnelBindings, name, "Programmed", "Programmed");
  }
  // Cloudflare answers for a CNAME at the apex with addresses.
  const dns = { ...rfc2136(), provider: "Cloudflare", secretRef: { name: "cloudflare" } };
  cluster.putTunnel({ dns });
  await cluster.condition(tunnelBindings, "apex", "DNSReady", "RecordsMade");
  assert.deepEqual(api.contents("CNAME", "example.com"), ["relay.example.net"]);
});

Deno.test("a target that is no address leaves the records that are there", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  const dns = { provider: "Cloudflare", zone: api.zone, secretRef: { name: "cloudflare" } };
  cluster.putTunnel({ dns: { ...dns, target: "192.0.2.7" } });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.putTunnel({ dns: { ...dns, target: "2001:db8" } });
  const { message } = await cluster.condition(tunnelBindings, "shop", "DNSReady", "TargetInvalid");
  assert.match(message, /dns.target 2001:db8 is neither a name nor an IP address/);
  assert.deepEqual(api.contents("A", "shop.example.com"), ["192.0.2.7"]);
  cluster.putTunnel({ dns: { ...dns, target: "2001:db8::8" } });
  await cluster.ready(tunnelBindings, "shop");
  await eventually(
    () => api.contents("AAAA", "shop.example.com").join() === "2001:db8::8",
    "the AAAA record",
  );
  assert.deepEqual(api.contents("A", "shop.example.com"), []);
});

Deno.test("a ClusterTunnel's records use the Secret in the operator's namespace, and no other", async () => {
  const cluster = new Cluster();
  // A namespace that uses the tunnel can't put its own token there.
  const api = cluster.useCloudflare("apps");
  cluster.kube.put(clusterTunnels, {
    metadata: { name: "shared" },
    spec: tunnelSpec({
      allowedBindings: { namespaces: "All" },
      dns: {
        ...{ provider: "Cloudflare", target: "relay.example.net", zone: api.zone },
        secretRef: { name: "cloudflare" },
      },
    }),
  });
  const tunnel = { kind: "ClusterTunnel", name: "shared" };
  cluster.putBinding("shop", [route("main", "shop.example.com")], tunnel);
  await using _ = cluster.start();
  const { message } = await cluster.condition(tunnelBindings, "shop", "DNSReady", "Refused");
  assert.match(message, /There is no Secret ops\/cloudflare with the key token/);
  assert.equal(api.calls.length, 0);
  cluster.putCloudflareToken(api.token, "ops");
  cluster.putBinding("shop", [route("main", "store.example.com")], tunnel);
  await cluster.ready(tunnelBindings, "shop");
  assert.deepEqual(api.contents("CNAME", "store.example.com"), ["relay.example.net"]);
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  const shop = (): KubeObject | undefined => cluster.kube.read(tunnelBindings, "apps", "shop");
  await eventually(() => shop() === undefined, () => JSON.stringify(conditionsOf(shop())), 60_000);
  assert.equal(api.records.size, 0);
});

Deno.test("a Secret that holds no token and no key for DNS is not told of but by its name", async (t) => {
  const secret = "secret-line-1\nsecret-line-2";
  await t.step("Cloudflare", async () => {
    const cluster = new Cluster();
    const api = cluster.useCloudflare("apps");
    cluster.putCloudflareToken(secret, "apps");
    const dns = { provider: "Cloudflare", zone: api.zone, secretRef: { name: "cloudflare" } };
    cluster.putTunnel({ dns: { ...dns, target: "relay.example.net" } });
    cluster.putBinding("shop", [route("main", "shop.example.com")]);
    await using running = cluster.start();
    const { message } = await cluster.condition(tunnelBindings, "shop", "DNSReady", "Refused");
    assert.match(message, /Key token of Secret apps\/cloudflare: the token must be one token of/);
    assert.equal(JSON.stringify([message, running.log.lines]).includes("secret-line"), false);
    assert.equal(api.calls.length, 0);
  });
  await t.step("a TSIG key's name", async () => {
    const cluster = new Cluster();
    putKey(cluster, "apps", secret);
    cluster.putTunnel({ dns: rfc2136() });
    cluster.putBinding("shop", [route("main", "shop.example.com")]);
    await using running = cluster.start();
    const { message } = await cluster.condition(tunnelBindings, "shop", "DNSReady", "Refused");
    assert.match(message, /Secret apps\/tsig: keyname is not the name of a key$/);
    assert.equal(JSON.stringify([message, running.log.lines]).includes("secret-line"), false);
  });
});

Deno.test("records that somebody writes into a binding's status are not taken off, being another's", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  const dns = { provider: "Cloudflare", zone: api.zone, secretRef: { name: "cloudflare" } };
  cluster.putTunnel({
    ...{ dns: { ...dns, target: "relay.example.net" } },
    allowedBindings: { namespaces: "All" },
  });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  const made = () => api.contents("CNAME", "shop.example.com");
  const tunnelRef = { name: "home", namespace: "apps" };
  cluster.kube.put(services, {
    ...cluster.putService("web"),
    metadata: { name: "web", namespace: "infra" },
  });
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  assert.deepEqual(made(), ["relay.example.net"]);
  const { status } = cluster.kube.read(tunnelBindings, "apps", "shop")!;
  const { dns: stolen } = status as { dns: readonly unknown[] };
  assert.equal(stolen.length, 1);
  const forged = cluster.putBinding(
    "evil",
    [route("main", "evil.example.com")],
    tunnelRef,
    "infra",
  );
  cluster.kube.put(tunnelBindings, { ...forged, status: { dns: stolen } });
  await eventually(
    () => api.contents("CNAME", "evil.example.com").length === 1,
    "the other binding's own record",
  );
  cluster.kube.remove(tunnelBindings, "infra", "evil");
  await cluster.gone(tunnelBindings, "evil", "infra");
  assert.deepEqual(made(), ["relay.example.net"]);
  assert.deepEqual(api.contents("CNAME", "evil.example.com"), []);
});
