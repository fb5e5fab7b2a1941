import assert from "node:assert/strict";
import type { KubeObject } from "../../lib/kube/objects.ts";
import {
  configMaps,
  deployments,
  events,
  namespaces,
  pods,
  secrets,
  services,
} from "../../lib/kube/resources.ts";
import { clusterTunnels, tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, digest, route, tunnelSpec, withoutNamespace } from "./harness.ts";

interface RouteStatus {
  readonly name: string;
  readonly conditions: readonly { readonly type: string; readonly reason: string }[];
}

function routesOf(cluster: Cluster, name: string): readonly RouteStatus[] {
  const status = cluster.kube.read(tunnelBindings, "apps", name)?.["status"];
  return ((status ?? {}) as { routes?: RouteStatus[] }).routes ?? [];
}

/** Waits for a condition of a binding's only route. */
async function routeCondition(cluster: Cluster, name: string, type: string, reason: string) {
  const find = () => routesOf(cluster, name)[0]?.conditions.find((it) => it.type === type);
  await eventually(
    () => find()?.reason === reason,
    () => `${type} of ${name}'s route to be ${reason}; it is ${JSON.stringify(find())}`,
    60_000,
  );
}

Deno.test("a TunnelBinding makes a target of the agents and a service at the relay", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const [target] = cluster.targets();
  assert.equal(target!["address"], "web.apps.svc:80");
  const [[name, entry]] = [...cluster.relay.services] as [[string, Record<string, unknown>]];
  assert.equal(name, target!["name"]);
  assert.match(name, /^[a-z0-9-]{1,63}$/);
  assert.deepEqual(entry["hostnames"], ["shop.example.com"]);
  assert.equal(entry["cluster"], "apps-home");
  assert.equal(entry["target"], target!["name"]);
  assert.equal(entry["policy"], "staff");
  const { status } = cluster.kube.read(tunnelBindings, "apps", "shop") as unknown as {
    status: Record<string, unknown>;
  };
  assert.equal(status["hostnames"], "shop.example.com");
  assert.deepEqual((status["routes"] as { urls: string[] }[])[0]!.urls, [
    "https://shop.example.com/",
  ]);
});

Deno.test("a route is Programmed only when every agent serves it, and pods are never replaced for it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  const deployment = cluster.kube.read(deployments, "apps", "home-agent")!.metadata.generation;
  const hashes = () =>
    cluster.kube.all(pods).map(({ metadata }) => metadata.annotations?.["culvert.dev/routes"]);
  cluster.hasKubelet = false;
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await routeCondition(cluster, "shop", "Programmed", "Programming");
  await eventually(() => hashes().every((hash) => hash !== undefined), "the pods to be hurried");
  const routes = cluster.kube.read(configMaps, "apps", "home-routes")!;
  const text = (routes["data"] as Record<string, string>)["targets.yaml"]!;
  assert.deepEqual(hashes(), [digest(text), digest(text)]);
  cluster.hasKubelet = true;
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(
    cluster.kube.read(deployments, "apps", "home-agent")!.metadata.generation,
    deployment,
  );
});

Deno.test("a route without a policy is not published", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ defaultPolicy: undefined });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await routeCondition(cluster, "shop", "Programmed", "PolicyMissing");
  assert.equal(cluster.relay.services.size, 0);
  cluster.putBinding("shop", [route("main", "shop.example.com", { policy: "public" })]);
  await cluster.ready(tunnelBindings, "shop");
});

Deno.test("what a route says of its service reaches the relay", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const more = {
    policy: "everybody-here",
    provider: "corp",
    audience: "app-7",
    host: "target",
    responseHeaders: { set: { "X-Frame-Options": "DENY" }, remove: ["Server"] },
  };
  cluster.putBinding("shop", [
    route("main", "shop.example.com", more),
    route("plain", "plain.example.com"),
  ]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const entries = new Map(
    [...cluster.relay.services.values()].map((entry) => [String(entry["hostnames"]), entry]),
  );
  const { responseHeaders: headers, ...same } = more;
  const { cluster: id, target, owner, ...main } = entries.get("shop.example.com")!;
  assert.deepEqual(main, { hostnames: ["shop.example.com"], ...same, headers });
  assert.deepEqual([id, typeof target, typeof owner], ["apps-home", "string", "string"]);
  const plain = Object.keys(entries.get("plain.example.com")!).sort();
  assert.deepEqual(plain, ["cluster", "hostnames", "owner", "policy", "target"]);
});

Deno.test("a changed route changes its service, a removed one goes, and others stay untouched", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com"), route("api", "api.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const calls = cluster.relay.calls.length;
  cluster.putBinding("shop", [route("main", "store.example.com")]);
  await eventually(() => cluster.relay.services.size === 1, "one service");
  const [entry] = [...cluster.relay.services.values()];
  await eventually(
    () => [...cluster.relay.services.values()][0]!["hostnames"]!.toString() === "store.example.com",
    "the new hostname",
  );
  assert.ok(entry);
  await eventually(() => cluster.targets().length === 1, "one target");
  await cluster.ready(tunnelBindings, "shop");
  const after = cluster.relay.writes.slice().length;
  assert.ok(after > 0 && cluster.relay.calls.length - calls < 8, "few calls");
});

Deno.test("a route that gets another name keeps its hostname, and so does one that moves to another binding", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const target = () => String([...cluster.relay.services.values()][0]?.["target"]);
  const before = [...cluster.relay.services];
  cluster.putBinding("shop", [route("store", "shop.example.com")]);
  await eventually(() => routesOf(cluster, "shop")[0]?.name === "store", "the renamed route");
  await cluster.ready(tunnelBindings, "shop");
  // The service is the one before: requests through it go on.
  assert.deepEqual([...cluster.relay.services], before);
  cluster.putBinding("next", [route("main", "shop.example.com")]);
  await routeCondition(cluster, "next", "Accepted", "Conflicted");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await cluster.ready(tunnelBindings, "next");
  assert.match(target(), /^apps-next-main-/);
});

Deno.test("requests of a binding that is deleted run to their end, and nothing new gets to its Service", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const { relay } = cluster;
  const [service] = relay.services.keys();
  relay.streams = [service!];
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  // The agents refuse what is new, and the relay has the service until the last request is over.
  await eventually(() => cluster.targets().length === 0, "no target");
  const looks = () => relay.calls.filter((call) => call.endsWith("/apps-home/streams")).length;
  const before = looks();
  await eventually(() => looks() > before + 1, "looks at what is under way");
  assert.equal(relay.services.size, 1);
  assert.ok(cluster.kube.read(tunnelBindings, "apps", "shop"), "the binding waits");
  relay.streams = [];
  await cluster.gone(tunnelBindings, "shop");
  assert.equal(relay.services.size, 0);
});

Deno.test("a hostname that another binding waits for is free at once", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.putBinding("next", [route("main", "shop.example.com")]);
  await routeCondition(cluster, "next", "Accepted", "Conflicted");
  cluster.relay.streams = [...cluster.relay.services.keys()];
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await cluster.ready(tunnelBindings, "next");
  assert.equal(cluster.relay.services.size, 1);
});

Deno.test("a route that may not be used any more ends at once, whatever is under way", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.relay.streams = [...cluster.relay.services.keys()];
  cluster.putTunnel({ defaultPolicy: undefined });
  await routeCondition(cluster, "shop", "Programmed", "PolicyMissing");
  await eventually(() => cluster.relay.services.size === 0, "the service to go");
});

Deno.test("a deleted binding takes its services with it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await cluster.gone(tunnelBindings, "shop");
  assert.equal(cluster.relay.services.size, 0);
  await eventually(() => cluster.targets().length === 0, "the target to go");
});

Deno.test("a Tunnel that goes first waits for its bindings' services, and the binding says so", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  assert.equal(cluster.relay.services.size, 0);
  assert.equal(cluster.relay.clusters.size, 0);
  await cluster.condition(tunnelBindings, "shop", "Accepted", "TunnelNotFound");
});

Deno.test("what is wrong with a backend is a condition, and heals when the Service appears", async (t) => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putService("outside", { spec: { type: "ExternalName", externalName: "example.org" } });
  cluster.putService("udp", { spec: { ports: [{ port: 53, protocol: "UDP" }] } });
  await using _ = cluster.start();
  const cases: [string, unknown, string][] = [
    ["missing", { name: "none", port: 80 }, "BackendNotFound"],
    ["port", { name: "web", port: 81 }, "BackendNotFound"],
    ["udp", { name: "udp", port: 53 }, "BackendNotFound"],
    ["outside", { name: "outside", port: 80 }, "RefNotPermitted"],
  ];
  for (const [name, service, reason] of cases) {
    await t.step(name, async () => {
      cluster.putBinding(name, [route("main", `${name}.example.com`, { backend: { service } })]);
      await routeCondition(cluster, name, "ResolvedRefs", reason);
    });
  }
  assert.deepEqual(cluster.targets(), []);
  cluster.putService("none");
  await cluster.ready(tunnelBindings, "missing");
});

Deno.test("a port can be named, and a headless Service's target port counts", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putService("pods", {
    spec: { clusterIP: "None", ports: [{ name: "http", port: 80, targetPort: 8080 }] },
  });
  const service = { name: "pods", port: "http" };
  cluster.putBinding("shop", [route("main", "shop.example.com", { backend: { service } })]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(cluster.targets()[0]!["address"], "pods.apps.svc:8080");
});

Deno.test("the API server's own Service is no backend", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ allowedBindings: { namespaces: "All" } });
  cluster.kube.put(services, {
    metadata: { name: "kubernetes", namespace: "default" },
    spec: { ports: [{ port: 443 }] },
  });
  cluster.kube.put(tunnelBindings, {
    metadata: { name: "api", namespace: "default" },
    spec: {
      tunnelRef: { name: "home", namespace: "apps" },
      routes: [route("main", "api.example.com", {
        backend: { service: { name: "kubernetes", port: 443 } },
      })],
    },
  });
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "api", "ResolvedRefs", "RefNotPermitted", "default");
});

Deno.test("of two routes with one hostname the older one has it, until it goes", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("first", [route("main", "shop.example.com")]);
  cluster.putBinding("second", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "first");
  await routeCondition(cluster, "second", "Accepted", "Conflicted");
  assert.equal(cluster.relay.services.size, 1);
  cluster.kube.remove(tunnelBindings, "apps", "first");
  await cluster.ready(tunnelBindings, "second");
});

Deno.test("a hostname that is somebody else's at the relay is a conflict, and theirs stays", async () => {
  const cluster = new Cluster();
  cluster.relay.services.set("theirs", { hostnames: ["shop.example.com"], owner: "somebody" });
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await routeCondition(cluster, "shop", "Programmed", "Conflict");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await cluster.gone(tunnelBindings, "shop");
  assert.deepEqual([...cluster.relay.services.keys()], ["theirs"]);
});

Deno.test("a hostname outside the tunnel's is refused here, and one outside the token's by the relay", async () => {
  const cluster = new Cluster();
  cluster.relay.tokens.set("admin-token", { prefixes: [""], suffixes: [".example.com"] });
  cluster.putTunnel({
    allowedBindings: { namespaces: "Same", hostnames: ["*.example.com", "*.example.net"] },
  });
  cluster.putBinding("outside", [route("main", "shop.example.org")]);
  cluster.putBinding("wider", [route("main", "shop.example.net")]);
  cluster.putBinding("inside", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await routeCondition(cluster, "outside", "Accepted", "HostnameNotPermitted");
  await routeCondition(cluster, "wider", "Programmed", "HostnameNotPermitted");
  await cluster.ready(tunnelBindings, "inside");
});

Deno.test("a binding of another namespace needs the tunnel's permission, which a label can give", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({
    allowedBindings: { namespaces: "Selector", selector: { matchLabels: { team: "a" } } },
  });
  cluster.kube.put(services, {
    metadata: { name: "web", namespace: "infra" },
    spec: { ports: [{ port: 80 }] },
  });
  cluster.kube.put(tunnelBindings, {
    metadata: { name: "shop", namespace: "infra" },
    spec: {
      tunnelRef: { name: "home", namespace: "apps" },
      routes: [route("main", "shop.example.com")],
    },
  });
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "Accepted", "NotAllowedByTunnel", "infra");
  cluster.kube.put(namespaces, { metadata: { name: "infra", labels: { team: "a" } } });
  await cluster.ready(tunnelBindings, "shop", "infra");
});

Deno.test("a Service's certificate is verified by a CA that travels beside the routes", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const tls = { caRef: { name: "web-ca" }, serverName: "web.internal" };
  cluster.putBinding("shop", [route("main", "shop.example.com", { protocol: "https", tls })]);
  await using _ = cluster.start();
  await routeCondition(cluster, "shop", "ResolvedRefs", "CaNotFound");
  cluster.kube.put(configMaps, {
    metadata: { name: "web-ca", namespace: "apps" },
    data: { "ca.crt": "PEM of the CA" },
  });
  await cluster.ready(tunnelBindings, "shop");
  const [target] = cluster.targets() as { tls: { ca: string; serverName: string } }[];
  assert.equal(target!.tls.serverName, "web.internal");
  const file = /^\/etc\/culvert\/targets\/(ca-[0-9a-f]+\.crt)$/.exec(target!.tls.ca)![1]!;
  const { data } = cluster.kube.read(configMaps, "apps", "home-routes") as unknown as {
    data: Record<string, string>;
  };
  assert.equal(data[file], "PEM of the CA");
});

Deno.test("TLS that no agent can use keeps its own route back, and no other one", async (t) => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("good", [route("main", "good.example.com")]);
  const putCa = (text: string) =>
    cluster.kube.put(configMaps, {
      metadata: { name: "web-ca", namespace: "apps" },
      data: { "ca.crt": text },
    });
  const bind = (tls: unknown) =>
    cluster.putBinding("bad", [route("main", "bad.example.com", { protocol: "https", tls })]);
  await using _ = cluster.start();
  await t.step("a CA that is none", async () => {
    putCa("not a certificate");
    bind({ caRef: { name: "web-ca" } });
    const { message } = await cluster.condition(tunnelBindings, "bad", "ResolvedRefs", "CaInvalid");
    assert.equal(message, "ConfigMap apps/web-ca has no CA in the key ca.crt, which is not PEM");
  });
  await t.step("a CA that is too long for all agents together", async () => {
    putCa(`PEM${"x".repeat(300_000)}`);
    const isLong = /more than 262144 characters/;
    await eventually(
      () => isLong.test(JSON.stringify(cluster.kube.read(tunnelBindings, "apps", "bad"))),
      "the length to be told",
    );
  });
  await t.step("a name that is no host's", async () => {
    bind({ serverName: "10.0.0.256" });
    await cluster.condition(tunnelBindings, "bad", "ResolvedRefs", "ServerNameInvalid");
  });
  await cluster.ready(tunnelBindings, "good");
  assert.equal(cluster.targets().length, 1);
  putCa("PEM of the CA");
  bind({ caRef: { name: "web-ca" } });
  await cluster.ready(tunnelBindings, "bad");
});

Deno.test("a TCP route is a TCP target and a TCP service", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("db", [route("pg", "pg.example.com", { protocol: "tcp" })]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "db");
  assert.equal(cluster.targets()[0]!["kind"], "tcp");
  assert.equal([...cluster.relay.services.values()][0]!["kind"], "tcp");
});

Deno.test("annotations of a Service make a binding that it owns, and the Service gets no finalizer", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ defaultPolicy: undefined });
  const annotations = {
    "culvert.dev/tunnel": "home",
    "culvert.dev/hostname": "web.example.com",
    "culvert.dev/policy": "public",
  };
  cluster.putService("web", { annotations });
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "service-web");
  assert.equal(cluster.kube.read(services, "apps", "web")!.metadata.finalizers, undefined);
  const before = cluster.kube.read(services, "apps", "web")!;
  cluster.kube.put(services, { ...before, metadata: { ...before.metadata, annotations: {} } });
  await cluster.gone(tunnelBindings, "service-web");
  assert.equal(cluster.relay.services.size, 0);
  cluster.putService("web", { annotations });
  await cluster.ready(tunnelBindings, "service-web");
  cluster.kube.remove(services, "apps", "web");
  await cluster.gone(tunnelBindings, "service-web");
  assert.equal(cluster.relay.services.size, 0);
});

Deno.test("the binding of a Service that neither the first list nor its watch shows stays", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putService("web", {
    annotations: { "culvert.dev/tunnel": "home", "culvert.dev/hostname": "web.example.com" },
  });
  cluster.putService("other");
  {
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "service-web");
  }
  const uid = () => cluster.kube.read(tunnelBindings, "apps", "service-web")?.metadata.uid;
  const before = uid();
  await using _ = cluster.start({
    kube: (fetch) => async (path, init) => {
      if (/\/services\?.*resourceVersion=0\b/.test(path)) return new Response("");
      const response = await fetch(path, init);
      if (!/\/services\?(?!.*watch=)/.test(path)) return response;
      const list = await response.json();
      const isShown = ({ metadata }: KubeObject) => metadata.name !== "web";
      return Response.json({ ...list, items: list.items.filter(isShown) });
    },
  });
  const backend = { service: { name: "other", port: 80 } };
  cluster.putBinding("later", [route("main", "later.example.com", { backend })]);
  await cluster.ready(tunnelBindings, "later");
  assert.equal(uid(), before);
  await cluster.ready(tunnelBindings, "service-web");
});

Deno.test("each annotation of a Service gets into its binding", async () => {
  const cluster = new Cluster();
  const of = (more: Record<string, string>, name = "web") => {
    const annotations = Object.entries({ tunnel: "home", hostname: "a.example.com", ...more })
      .map(([key, value]) => [`culvert.dev/${key}`, value]);
    cluster.putService(name, {
      annotations: Object.fromEntries(annotations),
      spec: { ports: [{ name: "http", port: 80 }, { name: "admin", port: 9000 }] },
    });
  };
  const expected = {
    tunnelRef: { kind: "Tunnel", name: "home" },
    routes: [{
      name: "service",
      hostnames: ["a.example.com"],
      backend: { service: { name: "web", port: "admin" } },
    }],
  };
  const [main] = expected.routes;
  const backend = (port: unknown) => ({ backend: { service: { name: "web", port } } });
  const cases: [Record<string, string>, unknown, unknown][] = [
    [{ port: "admin" }, expected.tunnelRef, main],
    [{ port: "9000" }, expected.tunnelRef, { ...main, ...backend(9000) }],
    [
      { port: "admin", hostname: "b.example.com , *.b.example.com" },
      expected.tunnelRef,
      { ...main, hostnames: ["b.example.com", "*.b.example.com"] },
    ],
    [
      { port: "admin", tunnel: "infra/edge" },
      { kind: "Tunnel", name: "edge", namespace: "infra" },
      main,
    ],
    [
      { port: "admin", tunnel: "ClusterTunnel/shared" },
      { kind: "ClusterTunnel", name: "shared" },
      main,
    ],
    [{ port: "admin", protocol: "https" }, expected.tunnelRef, { ...main, protocol: "https" }],
    [{ port: "admin", policy: "staff" }, expected.tunnelRef, { ...main, policy: "staff" }],
  ];
  await using _ = cluster.start();
  for (const [annotations, tunnelRef, only] of cases) {
    of(annotations);
    const find = () => cluster.kube.read(tunnelBindings, "apps", "service-web")?.["spec"];
    await eventually(
      () =>
        JSON.stringify(sorted(find())) === JSON.stringify(sorted({ tunnelRef, routes: [only] })),
      () => `the binding of ${JSON.stringify(annotations)}; it is ${JSON.stringify(find())}`,
    );
  }
});

/** With keys in one order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([one], [other]) => one < other ? -1 : 1);
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

Deno.test("a misspelled annotation of a Service publishes nothing, and one without a tunnel says so", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  const said = (name: string) =>
    cluster.kube.all(events).filter(({ regarding }) =>
      (regarding as { name: string }).name === name
    ).map(({ note }) => String(note));
  const hostname = { "culvert.dev/hostname": "a.example.com" };
  cluster.putService("typo", {
    annotations: { ...hostname, "culvert.dev/tunnel": "home", "culvert.dev/polcy": "staff" },
  });
  cluster.putService("alone", { annotations: hostname });
  await eventually(() => said("typo").length + said("alone").length === 2, "two Events");
  assert.match(said("typo")[0]!, /^There is no annotation culvert\.dev\/polcy; there are /);
  assert.deepEqual(said("alone"), ["culvert.dev/hostname needs culvert.dev/tunnel"]);
  assert.equal(cluster.kube.read(tunnelBindings, "apps", "service-typo"), undefined);
});

Deno.test("annotations that become wrong leave the binding as it was, and the Event says so", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const publish = (more: Record<string, string>) =>
    cluster.putService("web", {
      annotations: {
        ...{ "culvert.dev/tunnel": "home", "culvert.dev/hostname": "web.example.com" },
        ...more,
      },
    });
  publish({ "culvert.dev/policy": "public" });
  await using running = cluster.start();
  await cluster.ready(tunnelBindings, "service-web");
  publish({ "culvert.dev/polcy": "staff" });
  const note = () =>
    cluster.kube.all(events).find(({ reason }) => reason === "InvalidAnnotation")?.["note"];
  await eventually(() => note() !== undefined, "an Event");
  assert.match(
    String(note()),
    /^There is no annotation culvert\.dev\/polcy; .+; TunnelBinding service-web stays as it was, with its policy$/,
  );
  await eventually(() => running.operator.isSettled, "the operator to settle");
  assert.deepEqual([...cluster.relay.services.values()].map(({ policy }) => policy), ["public"]);
});

Deno.test("wrong annotations are one Event, and take over nobody's binding", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("service-web", [route("mine", "mine.example.com")]);
  cluster.putService("web", {
    annotations: { "culvert.dev/tunnel": "home", "culvert.dev/hostname": "web.example.com" },
  });
  cluster.putService("bad", {
    annotations: { "culvert.dev/tunnel": "home", "culvert.dev/hostname": "not a name" },
  });
  cluster.putService("none", { annotations: { "culvert.dev/tunnel": "home" } });
  await using running = cluster.start();
  await cluster.ready(tunnelBindings, "service-web");
  await eventually(() => cluster.kube.all(events).length >= 3, "Events");
  await eventually(() => running.operator.isSettled, "the operator to settle");
  const reasons = cluster.kube.all(events).filter(({ type }) => type === "Warning")
    .map(({ reason, regarding }) => `${(regarding as { name: string }).name} ${reason}`).sort();
  assert.deepEqual(reasons, ["bad InvalidAnnotation", "none InvalidAnnotation", "web Conflict"]);
  assert.equal(cluster.kube.all(tunnelBindings).length, 1);
});

Deno.test("500 bindings at once are all programmed, with few writes of the table", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  await using _ = cluster.start();
  await cluster.ready();
  const writes = cluster.kube.writes.length;
  const beganMs = performance.now();
  for (let index = 0; index < 500; index++) {
    cluster.putBinding(`b${index}`, [route("main", `h${index}.example.com`)]);
  }
  const isReady = (index: number) =>
    routesOf(cluster, `b${index}`)[0]?.conditions
      .every((condition) => (condition as { status?: string }).status === "True");
  await eventually(
    () => Array.from({ length: 500 }, (_, index) => index).every(isReady),
    "all to be programmed",
    120_000,
  );
  const seconds = (performance.now() - beganMs) / 1_000;
  const tables = cluster.kube.writes.slice(writes).filter(({ path }) =>
    path.endsWith("/configmaps/home-routes")
  );
  assert.ok(tables.length <= 5 * seconds + 5, `${tables.length} tables in ${seconds} s`);
  assert.equal(cluster.relay.services.size, 500);
});

Deno.test("what is published stays while the relay, its token or the operator is away for a while", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  {
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "shop");
    cluster.kube.remove(secrets, "apps", "relay-api");
    await cluster.condition(tunnels, "home", "Registered", "TokenMissing");
    cluster.putBinding("shop", [
      route("main", "shop.example.com"),
      route("new", "new.example.com"),
    ]);
    await cluster.condition(tunnelBindings, "shop", "Programmed", "TokenMissing");
    cluster.kube.put(secrets, {
      metadata: { name: "relay-api", namespace: "apps" },
      data: { token: btoa("admin-token") },
    });
    await cluster.ready(tunnelBindings, "shop");
    cluster.relay.isAway = true;
    cluster.putTunnel({ kubernetesApi: { serviceAccountName: "agent" } });
    await cluster.condition(tunnels, "home", "Registered", "RelayUnreachable");
    await cluster.condition(tunnelBindings, "shop", "Programmed", "TunnelNotRegistered");
    cluster.relay.isAway = false;
    await cluster.ready(tunnelBindings, "shop");
  }
  await using running = cluster.start();
  await eventually(() => running.operator.isSettled, "the next operator to settle", 60_000);
  await cluster.ready(tunnelBindings, "shop");
  assert.deepEqual(cluster.relay.calls.filter((call) => call.startsWith("DELETE")), []);
});

Deno.test("a hostname outside its namespace's is refused by the operator, and accepted once it is permitted", async () => {
  const cluster = new Cluster();
  const permit = (hostnames: string) =>
    cluster.kube.put(namespaces, {
      metadata: { name: "apps", annotations: { "culvert.dev/hostnames": hostnames } },
    });
  permit("shop.example.org, *.a.example.com");
  cluster.putTunnel();
  cluster.putBinding("good", [
    route("one", "web.a.example.com", { hostnames: ["web.a.example.com", "shop.example.org"] }),
  ]);
  cluster.putBinding("bad", [route("main", "a.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "good");
  await routeCondition(cluster, "bad", "Accepted", "HostnameNotPermitted");
  assert.equal(cluster.relay.services.size, 1);
  permit("*.example.com,shop.example.org");
  await cluster.ready(tunnelBindings, "bad");
  permit("");
  await routeCondition(cluster, "good", "Accepted", "HostnameNotPermitted");
  await eventually(() => cluster.relay.services.size === 0, "the services to go", 60_000);
});

Deno.test("a namespace that is not listed yet limits hostnames all the same, and takes no route away", async () => {
  const cluster = new Cluster();
  cluster.kube.put(namespaces, {
    metadata: { name: "apps", annotations: { "culvert.dev/hostnames": "*.a.example.com" } },
  });
  cluster.putTunnel();
  cluster.putBinding("good", [route("main", "web.a.example.com")]);
  {
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "good");
  }
  const [service] = cluster.relay.services.keys();
  cluster.putBinding("bad", [route("main", "web.b.example.com")]);
  const before = cluster.relay.calls.length;
  let failures = 5;
  await using _ = cluster.start(withoutNamespace(async (next) => {
    if (failures-- > 0) throw new TypeError("the connection was closed");
    return await next();
  }));
  await routeCondition(cluster, "bad", "Accepted", "HostnameNotPermitted");
  await cluster.ready(tunnelBindings, "good");
  const changes = cluster.relay.calls.slice(before).filter((call) => /^(PUT|DELETE)/.test(call));
  const services = changes.filter((call) => call.includes("/services/"));
  assert.deepEqual(
    services.filter((call) => !call.startsWith(`PUT /admin/v1/services/${service}`)),
    [],
  );
  assert.equal(cluster.targets().length, 1);
});

Deno.test("a binding in a namespace that the API server does not have gets no hostname", async () => {
  const cluster = new Cluster();
  cluster.kube.put(clusterTunnels, {
    metadata: { name: "edge" },
    spec: tunnelSpec({ allowedBindings: { namespaces: "All" } }),
  });
  const tunnelRef = { kind: "ClusterTunnel", name: "edge" };
  cluster.putBinding("shop", [route("main", "shop.example.com")], tunnelRef);
  const failure = { kind: "Status", code: 404, reason: "NotFound", message: "not found" };
  await using _ = cluster.start(
    withoutNamespace(() => Promise.resolve(Response.json(failure, { status: 404 }))),
  );
  await routeCondition(cluster, "shop", "Accepted", "HostnameNotPermitted");
  assert.equal(cluster.relay.services.size, 0);
});
