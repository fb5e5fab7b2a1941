/** Routes of one hostname that are told apart by path. */
import assert from "node:assert/strict";
import { accessPolicies, tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { no } from "../../lib/operator/conditions.ts";
import { compileRoutes } from "../../lib/operator/routes/compile_routes.ts";
import type { RouteSources } from "../../lib/operator/routes/route_sources.ts";
import { readTunnel } from "../../lib/operator/tunnel.ts";
import type { KubeObject } from "../../lib/kube/objects.ts";
import { events, services } from "../../lib/kube/resources.ts";
import type { RelayFetch } from "../../lib/operator/relay/relay_api.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, conditionsOf, digest, route } from "./harness.ts";

const hostname = "shop.example.com";

interface RouteStatus {
  readonly name: string;
  readonly urls: readonly string[];
  readonly conditions: readonly { type: string; status: string; reason: string; message: string }[];
}

interface PathEntry {
  readonly type: string;
  readonly value: string;
  readonly target?: string;
}

/** A route for a path of the hostname, to a Service. */
function pathRoute(name: string, path?: unknown, more: Record<string, unknown> = {}) {
  const backend = { service: { name: more["service"] ?? name, port: 80 } };
  const { service: _, ...rest } = more;
  return route(name, hostname, { backend, ...path !== undefined && { path }, ...rest });
}

function statusOf(cluster: Cluster, binding: string, name: string): RouteStatus | undefined {
  const status = cluster.kube.read(tunnelBindings, "apps", binding)?.["status"] as
    | { routes?: RouteStatus[] }
    | undefined;
  return status?.routes?.find((it) => it.name === name);
}

/** Waits for a condition of a route. @returns its message */
async function until(cluster: Cluster, path: string, type: string, reason: string) {
  const [binding = "", name = ""] = path.split("/");
  const find = () =>
    statusOf(cluster, binding, name)?.conditions.find((condition) => condition.type === type);
  await eventually(
    () => find()?.reason === reason,
    () => `${type} of ${path} to be ${reason}; it is ${JSON.stringify(find())}`,
    60_000,
  );
  return find()!.message;
}

/** What the agents do with paths of a hostname: the Service's address for each, or nowhere. */
function pathsOf(cluster: Cluster, service?: string): Record<string, string> {
  const targets = cluster.targets();
  const addressOf = (name: string | undefined) =>
    String(targets.find((it) => it["name"] === name)?.["address"] ?? "nowhere").split(".")[0]!;
  const found = targets.find((it) =>
    service === undefined ? it["paths"] !== undefined : it["name"] === service
  );
  const entries = (found?.["paths"] ?? []) as PathEntry[];
  return Object.fromEntries(
    entries.map(({ type, value, target }) => [`${type} ${value}`, addressOf(target)]),
  );
}

/** Waits until the agents have these paths. */
async function untilPaths(cluster: Cluster, expected: Record<string, string>) {
  const sorted = (paths: Record<string, string>) => JSON.stringify(Object.entries(paths).sort());
  await eventually(
    () => sorted(pathsOf(cluster)) === sorted(expected),
    () => `paths ${JSON.stringify(expected)}; they are ${JSON.stringify(pathsOf(cluster))}`,
    60_000,
  );
}

function withServices(...names: string[]): Cluster {
  const cluster = new Cluster();
  cluster.putTunnel();
  for (const name of names) cluster.putService(name);
  return cluster;
}

Deno.test("routes of one hostname with paths are one service, and a target each behind one that chooses", async () => {
  const cluster = withServices("api", "hook");
  cluster.putBinding("shop", [
    pathRoute("web"),
    pathRoute("api", { value: "/api" }),
    pathRoute("hook", { type: "Exact", value: "/api/hook" }),
  ]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(cluster.relay.services.size, 1);
  const [[name, entry]] = [...cluster.relay.services] as [[string, Record<string, unknown>]];
  assert.equal(entry["target"], name);
  assert.deepEqual(entry["hostnames"], [hostname]);
  assert.deepEqual(pathsOf(cluster, name), {
    "Prefix /": "web",
    "Prefix /api": "api",
    "Exact /api/hook": "hook",
  });
  assert.equal(cluster.targets().length, 4);
  const urls = ["web", "api", "hook"].map((it) => statusOf(cluster, "shop", it)!.urls);
  assert.deepEqual(urls, [
    [`https://${hostname}/`],
    [`https://${hostname}/api`],
    [`https://${hostname}/api/hook`],
  ]);
});

Deno.test("one route with a path is the only one at its hostname that leads anywhere", async () => {
  const cluster = withServices("api");
  cluster.putBinding("shop", [pathRoute("api", { value: "/api" })]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const [name] = [...cluster.relay.services.keys()];
  assert.deepEqual(pathsOf(cluster, name), { "Prefix /api": "api" });
});

Deno.test("paths come and go without a change at the relay, whatever the order of routes", async () => {
  const cluster = withServices("api", "docs");
  cluster.putBinding("shop", [pathRoute("web")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const before = [...cluster.relay.services];
  const writes = () => cluster.relay.writes.filter((call) => call.includes("/services/"));
  const count = writes().length;
  cluster.putBinding("shop", [pathRoute("api", { value: "/api" }), pathRoute("web")]);
  await untilPaths(cluster, { "Prefix /": "web", "Prefix /api": "api" });
  cluster.putBinding("docs", [pathRoute("docs", { value: "/docs" })]);
  await cluster.ready(tunnelBindings, "docs");
  await cluster.ready(tunnelBindings, "shop");
  await untilPaths(cluster, { "Prefix /": "web", "Prefix /api": "api", "Prefix /docs": "docs" });
  cluster.putBinding("shop", [pathRoute("web")]);
  await untilPaths(cluster, { "Prefix /": "web", "Prefix /docs": "docs" });
  cluster.kube.remove(tunnelBindings, "apps", "docs");
  await eventually(() => cluster.targets().length === 1, "one target");
  assert.equal(cluster.targets()[0]!["address"], "web.apps.svc:80");
  await cluster.ready(tunnelBindings, "shop");
  assert.deepEqual([...cluster.relay.services], before);
  assert.deepEqual(writes().length, count, writes().join());
});

Deno.test("the service of a hostname stays when the binding goes that it was made for", async () => {
  const cluster = withServices("api", "docs");
  cluster.putBinding("web", [pathRoute("web")]);
  cluster.putBinding("api", [pathRoute("api", { value: "/api" })]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "web");
  await cluster.ready(tunnelBindings, "api");
  const before = [...cluster.relay.services];
  const [[service]] = before as [[string, unknown]];
  cluster.kube.remove(tunnelBindings, "apps", "web");
  await untilPaths(cluster, { "Prefix /api": "api" });
  await cluster.ready(tunnelBindings, "api");
  // Its routes may change as well, and one that is alone has the whole hostname.
  cluster.putBinding("api", [pathRoute("docs")]);
  await eventually(
    () => cluster.targets().map((it) => it["address"]).join() === "docs.apps.svc:80",
    "the other Service alone",
    60_000,
  );
  await cluster.ready(tunnelBindings, "api");
  assert.equal(cluster.targets()[0]!["name"], service);
  assert.deepEqual([...cluster.relay.services], before);
  assert.deepEqual(cluster.relay.calls.filter((call) => call.startsWith("DELETE")), []);
  // The route that it was made for may come back.
  cluster.putBinding("web", [pathRoute("web", { value: "/web" })]);
  await cluster.ready(tunnelBindings, "web");
  await untilPaths(cluster, { "Prefix /": "docs", "Prefix /web": "web" });
  assert.deepEqual([...cluster.relay.services], before);
  for (const name of ["api", "web"]) cluster.kube.remove(tunnelBindings, "apps", name);
  await eventually(() => cluster.kube.all(tunnelBindings).length === 0, "the bindings to go");
  assert.equal(cluster.relay.services.size, 0);
});

Deno.test("a route that leaves a hostname takes its own service to the next one, and the others stay", async () => {
  const cluster = withServices("api");
  cluster.putBinding("web", [pathRoute("web")]);
  cluster.putBinding("api", [pathRoute("api", { value: "/api" })]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "web");
  await cluster.ready(tunnelBindings, "api");
  cluster.putBinding("web", [{ ...pathRoute("web"), hostnames: ["web.example.com"] }]);
  const hostnames = () => [...cluster.relay.services.values()].map((it) => String(it["hostnames"]));
  await eventually(
    () => hostnames().sort().join() === `${hostname},web.example.com`,
    () => `a service for each hostname; there are ${hostnames()}`,
    60_000,
  );
  await cluster.ready(tunnelBindings, "web");
  await cluster.ready(tunnelBindings, "api");
  assert.deepEqual(pathsOf(cluster), { "Prefix /api": "api" });
});

Deno.test("a shared hostname is published neither without a policy nor without a Service", async () => {
  const cluster = withServices("api");
  cluster.putBinding("web", [pathRoute("web")]);
  cluster.putBinding("api", [pathRoute("api", { value: "/api" })]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "web");
  await cluster.ready(tunnelBindings, "api");
  cluster.putTunnel({ defaultPolicy: undefined });
  await until(cluster, "web/web", "Programmed", "PolicyMissing");
  await until(cluster, "api/api", "Programmed", "PolicyMissing");
  await eventually(() => cluster.relay.services.size === 0, "no service", 60_000);
  cluster.putTunnel();
  await cluster.ready(tunnelBindings, "web");
  await cluster.ready(tunnelBindings, "api");
  for (const name of ["web", "api"]) cluster.kube.remove(services, "apps", name);
  await until(cluster, "web/web", "Programmed", "NotResolved");
  await until(cluster, "api/api", "Programmed", "NotResolved");
  await eventually(() => cluster.relay.services.size === 0, "no service", 60_000);
});

Deno.test("a hostname is taken over though the relay's refusal arrives after it has become free", async () => {
  const cluster = withServices("api");
  cluster.putBinding("web", [pathRoute("web")]);
  cluster.putBinding("api", [pathRoute("api")]);
  let refusals = 0;
  const relay = (fetch: RelayFetch): RelayFetch => async (url, init, ca) => {
    const isService = url.includes("/services/");
    if (isService && init.method === "DELETE") {
      await eventually(() => refusals > 0, "the other service to be refused", 60_000);
    }
    const response = await fetch(url, init, ca);
    if (!isService || response.status !== 409) return response;
    refusals++;
    await eventually(() => cluster.relay.services.size === 0, "the first one to go", 60_000);
    // The operator is told of both at once.
    await new Promise((resolve) => setTimeout(resolve, 50));
    return response;
  };
  await using _ = cluster.start({ relay });
  await cluster.ready(tunnelBindings, "web");
  await until(cluster, "api/api", "Accepted", "Conflicted");
  cluster.kube.remove(tunnelBindings, "apps", "web");
  await eventually(() => cluster.relay.services.size === 1 && refusals > 0, "the service", 60_000);
  await cluster.ready(tunnelBindings, "api");
});

Deno.test("requests for a Service that is missing reach no other, and the rest stays published", async () => {
  const cluster = withServices();
  cluster.putBinding("shop", [pathRoute("web"), pathRoute("api", { value: "/api" })]);
  await using _ = cluster.start();
  await until(cluster, "shop/api", "Programmed", "NotResolved");
  await until(cluster, "shop/web", "Programmed", "Programmed");
  await untilPaths(cluster, { "Prefix /": "web", "Prefix /api": "nowhere" });
  cluster.putService("api");
  await cluster.ready(tunnelBindings, "shop");
  const before = [...cluster.relay.services];
  cluster.kube.remove(services, "apps", "web");
  await until(cluster, "shop/web", "Programmed", "NotResolved");
  await until(cluster, "shop/api", "Programmed", "Programmed");
  await untilPaths(cluster, { "Prefix /": "nowhere", "Prefix /api": "api" });
  assert.deepEqual([...cluster.relay.services], before);
});

Deno.test("routes share a hostname only with other paths, in one namespace and with the same settings", async (t) => {
  const other = (more: Record<string, unknown>) => pathRoute("web", { value: "/b" }, more);
  const cases: [string, Record<string, unknown> | undefined, RegExp][] = [
    [
      "the same path",
      undefined,
      /^shop.example.com\/a belongs to route web of TunnelBinding apps\/first/,
    ],
    ["TCP", { ...other({ protocol: "tcp" }), path: undefined }, /^shop.example.com belongs to/],
    ["hostnames", { ...other({}), hostnames: [hostname, "x.example.com"] }, /has other hostnames:/],
    ["policy", other({ policy: "public" }), /has other policy: routes of one hostname must/],
    [
      "responseHeaders",
      other({ responseHeaders: { remove: ["Server"] } }),
      /other headers:/,
    ],
    ["host", { ...other({ host: "target" }), path: undefined }, /has other host:/],
  ];
  for (const [name, second, message] of cases) {
    await t.step(name, async () => {
      const cluster = withServices();
      const first = pathRoute("web", { value: "/a" });
      cluster.putBinding("first", [first]);
      cluster.putBinding("second", [second ?? { ...first, path: { value: "/a/" } }]);
      await using _ = cluster.start();
      await cluster.ready(tunnelBindings, "first");
      const found = await until(cluster, "second/web", "Accepted", "Conflicted");
      if (second) assert.match(found, message);
      else assert.match(found, /^shop.example.com\/a\/ belongs to route web of TunnelBinding/);
      assert.deepEqual(pathsOf(cluster), { "Prefix /a": "web" });
    });
  }
});

Deno.test("a tunnel has no more targets than an agent takes, with those that choose by path", () => {
  const cluster = withServices();
  const tunnel = readTunnel(tunnels, cluster.kube.read(tunnels, "apps", "home")!, "ops");
  for (let index = 0; index < 998; index++) {
    cluster.putBinding(`a${index}`, [route("main", `h${index}.example.com`)]);
  }
  // Two targets and one that chooses would be 1,001.
  cluster.putBinding("shop", [
    pathRoute("web"),
    pathRoute("api", { value: "/api" }, { service: "web" }),
  ]);
  const sources: RouteSources = {
    tunnels: new Map([[tunnel.key, tunnel]]),
    bindings: cluster.kube.all(tunnelBindings),
    policies: [],
    service: () => cluster.kube.read(services, "apps", "web"),
    namespace: () => undefined,
    ca: () => ({ fault: no("CaNotFound", "") }),
    credential: () => ({ fault: no("CredentialNotFound", "") }),
    callerToken: () => ({ fault: no("TokenNotFound", "") }),
    idPrefix: "",
  };
  const { bindings, tunnels: tables } = compileRoutes(sources, digest);
  const verdicts = bindings.get("apps/shop")!.routes.map(({ accepted }) => accepted.reason);
  assert.deepEqual(verdicts, ["Accepted", "TooManyRoutes"]);
  assert.equal(tables.get(tunnel.key)!.targets.length, 999);
});

Deno.test("a binding of another namespace has no path of a hostname", async () => {
  const cluster = withServices();
  cluster.putTunnel({ allowedBindings: { namespaces: "All" } });
  cluster.kube.put(services, {
    metadata: { name: "web", namespace: "infra" },
    spec: { ports: [{ port: 80 }] },
  });
  cluster.putBinding("shop", [pathRoute("web")]);
  cluster.kube.put(tunnelBindings, {
    metadata: { name: "theirs", namespace: "infra" },
    spec: {
      tunnelRef: { name: "home", namespace: "apps" },
      routes: [pathRoute("web", { value: "/login" })],
    },
  });
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "theirs", "Accepted", "Conflicted", "infra");
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(cluster.targets().length, 1);
});

Deno.test("a binding that an older CRD let through says what is wrong, and is deleted with all it has", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const publish = (value: string) =>
    cluster.putBinding("shop", [route("main", hostname, { path: { value } })]);
  publish("/abc");
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  publish("/%61bc");
  const { message } = await cluster.condition(tunnelBindings, "shop", "Accepted", "InvalidSpec");
  assert.equal(
    message,
    'The spec can\'t be read: routes.0.path.value must have letters, digits, "-", "_" and "~" ' +
      "as they are, not percent-encoded",
  );
  await cluster.condition(tunnelBindings, "shop", "Ready", "InvalidSpec");
  publish("/abc");
  await cluster.ready(tunnelBindings, "shop");
  publish("/%61bc");
  await cluster.condition(tunnelBindings, "shop", "Accepted", "InvalidSpec");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  const find = () => cluster.kube.read(tunnelBindings, "apps", "shop");
  await eventually(() => find() === undefined, "the binding to go");
  assert.equal(cluster.relay.services.size, 0);
});

Deno.test("an AccessPolicy of one path is one of all, or its route is not published", async () => {
  const cluster = withServices("api");
  const policy = (...targetRefs: unknown[]): KubeObject =>
    cluster.kube.put(accessPolicies, {
      metadata: { name: "staff", namespace: "apps" },
      spec: { targetRefs, any: [{ emailDomain: "example.com" }] },
    });
  policy({ name: "shop", route: "api" });
  cluster.putBinding("shop", [pathRoute("web"), pathRoute("api", { value: "/api" })]);
  await using _ = cluster.start();
  const message = await until(cluster, "shop/api", "Accepted", "Conflicted");
  assert.match(message, /has other AccessPolicies: routes of one hostname must have the same$/);
  await until(cluster, "shop/web", "Programmed", "Programmed");
  assert.deepEqual(cluster.targets().map((it) => it["address"]), ["web.apps.svc:80"]);
  policy({ name: "shop" });
  await cluster.ready(tunnelBindings, "shop");
  const [entry] = [...cluster.relay.services.values()];
  assert.deepEqual([...cluster.relay.policies.keys()], [entry!["policy"]]);
  policy({ name: "shop", route: "web" });
  await until(cluster, "shop/api", "Accepted", "Conflicted");
});

Deno.test("the annotation culvert.dev/path puts Services at paths of one hostname", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const annotations = (path?: string) => ({
    "culvert.dev/tunnel": "home",
    "culvert.dev/hostname": hostname,
    ...path !== undefined && { "culvert.dev/path": path },
  });
  cluster.putService("web", { annotations: annotations() });
  cluster.putService("api", { annotations: annotations("/api") });
  cluster.putService("bad", { annotations: annotations("/a?b") });
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "service-web");
  await cluster.ready(tunnelBindings, "service-api");
  await untilPaths(cluster, { "Prefix /": "web", "Prefix /api": "api" });
  const event = () =>
    cluster.kube.all(events).find(({ regarding }) =>
      (regarding as { name: string }).name === "bad"
    );
  await eventually(() => event() !== undefined, "an Event of the wrong annotation");
  assert.match(String(event()!["note"]), /path\.value: must be a path as URLs have it/);
  assert.equal(conditionsOf(cluster.kube.read(tunnelBindings, "apps", "service-bad")).length, 0);
});
