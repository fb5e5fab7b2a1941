/** What somebody gets who may create our objects, Services and Secrets in one namespace of a cluster. */
import assert from "node:assert/strict";
import { secrets, services } from "../../lib/kube/resources.ts";
import { tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { no } from "../../lib/operator/conditions.ts";
import { dnsEndpoints } from "../../lib/operator/dns/dns_endpoint.ts";
import { compileRoutes } from "../../lib/operator/routes/compile_routes.ts";
import type { RouteSources } from "../../lib/operator/routes/route_sources.ts";
import { targetsText } from "../../lib/operator/routes/route_table.ts";
import { readTunnel } from "../../lib/operator/tunnel.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, digest, route } from "./harness.ts";

/** A tenant in the namespace `infra` with a Tunnel of its own at the relay that everybody has. */
function withTenant(token: string, cluster = new Cluster()): Cluster {
  cluster.kube.put(secrets, {
    metadata: { name: "relay-api", namespace: "infra" },
    data: { token: btoa(token) },
  });
  cluster.kube.put(services, {
    metadata: { name: "web", namespace: "infra" },
    spec: { ports: [{ port: 80 }] },
  });
  cluster.putTunnel({}, "theirs", "infra");
  return cluster;
}

Deno.test("nobody keeps a hostname from others by asking for it where the relay refuses it", async (t) => {
  for (
    const [what, token, reason] of [
      ["without a token", "wrong", "TunnelNotRegistered"],
      ["with a token for other hostnames", "token-of-infra", "HostnameNotPermitted"],
    ] as const
  ) {
    await t.step(what, async () => {
      const cluster = withTenant(token);
      cluster.relay.tokens.set("token-of-infra", { prefixes: ["infra-"], suffixes: [".test"] });
      const asked = [route("main", "shop.example.com")];
      cluster.putBinding("squat", asked, { name: "theirs" }, "infra");
      await using _ = cluster.start();
      await cluster.condition(tunnelBindings, "squat", "Programmed", reason, "infra");
      cluster.putTunnel();
      cluster.putBinding("shop", asked);
      await cluster.ready(tunnelBindings, "shop");
      assert.equal(cluster.relay.services.size, 1);
    });
  }
});

Deno.test("of two tunnels at one relay, the one that the relay knows has the hostname until it goes", async () => {
  const cluster = withTenant("admin-token");
  cluster.putTunnel();
  const asked = [route("main", "shop.example.com")];
  cluster.putBinding("shop", asked);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.putBinding("shop", asked, { name: "theirs" }, "infra");
  await cluster.condition(tunnelBindings, "shop", "Programmed", "Conflict", "infra");
  assert.equal(cluster.relay.services.size, 1);
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await cluster.ready(tunnelBindings, "shop", "infra");
});

Deno.test("a hostname that the relay refuses gets no record in a zone that has more names", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  cluster.relay.tokens.set("admin-token", { prefixes: [""], suffixes: [".apps.example.com"] });
  const dns = { provider: "Cloudflare", target: "relay.example.net", zone: "example.com" };
  cluster.putTunnel({ dns: { ...dns, secretRef: { name: "cloudflare" } } });
  cluster.putBinding("mail", [
    route("main", "mail.example.com"),
    route("shop", "shop.apps.example.com"),
  ]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "mail", "DNSReady", "Refused");
  const names = () => [...api.records.values()].map(({ name }) => name).sort();
  const own = ["_culvert.shop.apps.example.com", "shop.apps.example.com"];
  await eventually(() => names().length === own.length, () => names().join());
  assert.deepEqual(names(), own);
});

Deno.test("a hostname that the relay refuses gets no DNSEndpoint", async () => {
  const cluster = new Cluster();
  cluster.hasExternalDns = true;
  cluster.relay.tokens.set("admin-token", { prefixes: [""], suffixes: [".apps.example.com"] });
  cluster.putTunnel({ dns: { provider: "ExternalDNS", target: "relay.example.net" } });
  cluster.putBinding("shop", [
    route("mail", "mail.example.com"),
    // The relay is not asked about a Service that does not exist.
    { ...route("none", "none.example.com"), backend: { service: { name: "none", port: 80 } } },
    route("shop", "shop.apps.example.com"),
  ]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Refused");
  const names = () =>
    cluster.kube.all(dnsEndpoints).flatMap(({ spec }) =>
      (spec as { endpoints: { dnsName: string }[] }).endpoints.map(({ dnsName }) => dnsName)
    );
  await eventually(() => names().length === 1, () => names().join());
  assert.deepEqual(names(), ["shop.apps.example.com"]);
  // What the relay has taken before keeps its record while it can't be asked.
  cluster.relay.isAway = true;
  cluster.putBinding("shop", [
    route("shop", "shop.apps.example.com"),
    route("new", "new.apps.example.com"),
  ]);
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Pending");
  assert.deepEqual(names(), ["shop.apps.example.com"]);
  cluster.relay.isAway = false;
  await cluster.ready(tunnelBindings, "shop");
  assert.deepEqual(names(), ["shop.apps.example.com", "new.apps.example.com"]);
});

/** A tunnel that all namespaces may use, and many routes of `infra` beside one of `apps`. */
function withCrowd(crowd: (index: number) => Record<string, unknown>, count: number): RouteSources {
  const cluster = withTenant("admin-token");
  const object = cluster.putTunnel({ allowedBindings: { namespaces: "All" } });
  const tunnel = readTunnel(tunnels, object, "ops");
  const tunnelRef = { name: "home", namespace: "apps" };
  cluster.putBinding("shop", [route("main", "shop.example.com")], tunnelRef);
  for (let first = 0; first < count; first += 64) {
    const routes = Array.from({ length: 64 }, (_, at) => crowd(first + at));
    cluster.putBinding(`crowd-${first}`, routes, tunnelRef, "infra");
  }
  const web = cluster.kube.read(services, "apps", "web");
  return {
    tunnels: new Map([[tunnel.key, tunnel]]),
    bindings: cluster.kube.all(tunnelBindings),
    policies: [],
    service: (key) => key.endsWith("/web") ? web : undefined,
    namespace: () => undefined,
    ca: ({ name }) => ({ text: "€".repeat(80_000) + name }),
    credential: () => ({ text: "credential" }),
    callerToken: () => ({ fault: no("TokenNotFound", "") }),
    idPrefix: "",
  };
}

Deno.test("agents and the API server take the routes of a tunnel, however many somebody asks for", async (t) => {
  const hostnames = ["crowd.example.com"];
  const backend = (name: string) => ({ service: { name, port: 80 } });
  const crowds: Record<string, (index: number) => Record<string, unknown>> = {
    "long paths": (index) => ({
      ...route(`r-${index}`, hostnames[0]!),
      path: { type: "Exact", value: `/${index}-`.padEnd(1_000, "x") },
    }),
    "paths of Services that do not exist": (index) => ({
      ...{ ...route(`r-${index}`, hostnames[0]!), path: { type: "Exact", value: `/${index}` } },
      backend: backend(index === 0 ? "web" : "none"),
    }),
    "large CAs": (index) => ({
      ...{ ...route(`r-${index}`, `h-${index}.example.com`), protocol: "https" },
      tls: {
        caRef: { name: `ca-${index % 9}`, key: "ca.crt" },
        serverName: "a.".repeat(120) + "b",
      },
    }),
  };
  for (const [what, crowd] of Object.entries(crowds)) {
    await t.step(what, () => {
      const { bindings, tunnels } = compileRoutes(withCrowd(crowd, 1_280), digest);
      const table = tunnels.get("Tunnel/apps/home")!;
      const text = targetsText(table);
      // Agents take at most 1,000 targets, and as many paths of each.
      const counts = table.targets.map((it) => "paths" in it ? it.paths.length : 1);
      assert.ok(counts.length > 1 && Math.max(...counts, counts.length) <= 1_000);
      const data = [text, ...table.files.values()].join("");
      assert.ok(new TextEncoder().encode(data).length < 1_048_576);
      assert.equal(bindings.get("apps/shop")!.routes[0]!.accepted.status, "True");
    });
  }
});
