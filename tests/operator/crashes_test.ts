import { secrets } from "../../lib/kube/resources.ts";
import {
  accessPolicies,
  clusterTunnels,
  tunnelBindings,
  tunnels,
} from "../../lib/operator/api/crds.ts";
import { FakeCloudflare } from "../support/fake_cloudflare.ts";
import {
  assertNothingLeft,
  assertSameEnd,
  assertSameEndAfterAbsence,
  assertSameEndWithLostAnswers,
  assertTwoAgree,
  isPrepared,
  isReady,
  type Story,
} from "./crash_stories.ts";
import { Cluster, digest, route, tunnelSpec } from "./harness.ts";

const routes = [route("main", "shop.example.com"), route("api", "api.example.com")];

function putBoth(cluster: Cluster): void {
  cluster.putTunnel();
  cluster.putBinding("shop", routes);
}

/** Two bindings at one hostname, of which the first has its service and its record. */
function putShared(cluster: Cluster): void {
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  cluster.putBinding("paths", [route("api", "shop.example.com", { path: { value: "/api" } })]);
}

function story(more: Partial<Story> & Pick<Story, "name" | "act">): Story {
  return { cluster: () => new Cluster(), before: putBoth, isPrepared, isDone: isReady, ...more };
}

function serviceNames({ relay }: Cluster): string[] {
  return [...relay.services.keys()];
}

const stories: readonly Story[] = [
  story({ name: "a Tunnel and its binding are made", before() {}, act: putBoth }),
  story({
    name: "a route is replaced by another",
    act: (cluster) => cluster.putBinding("shop", [routes[0], route("new", "new.example.com")]),
    isDone: (cluster) =>
      isReady(cluster) && cluster.relay.services.size === 2 &&
      serviceNames(cluster).some((name) => name.startsWith("apps-shop-new-")),
  }),
  story({
    name: "a hostname and a policy change",
    act: (cluster) =>
      cluster.putBinding("shop", [
        route("main", "store.example.com"),
        route("api", "api.example.com", { policy: "public" }),
      ]),
    isDone: (cluster) =>
      isReady(cluster) &&
      JSON.stringify([...cluster.relay.services.values()]).includes("store.example.com"),
  }),
  story({
    name: "an AccessPolicy is made and replaces the route's policy",
    act(cluster) {
      cluster.kube.put(accessPolicies, {
        metadata: { name: "staff", namespace: "apps" },
        spec: { targetRefs: [{ name: "shop" }], any: [{ emailDomain: "example.com" }] },
      });
    },
    isDone: (cluster) =>
      isReady(cluster) && cluster.relay.policies.size === 2 &&
      [...cluster.relay.services.values()].every(({ policy }) => policy !== "staff"),
  }),
  story({
    name: "a route gets a credential",
    before(cluster) {
      cluster.kube.put(secrets, {
        metadata: { name: "shop", namespace: "apps", labels: { "culvert.dev/use": "true" } },
        data: { token: btoa("token-of-the-shop") },
      });
      putBoth(cluster);
    },
    act: (cluster) =>
      cluster.putBinding("shop", [
        { ...routes[0]!, authorization: { secretRef: { name: "shop", key: "token" } } },
        routes[1],
      ]),
    isDone(cluster) {
      const copy = cluster.kube.read(secrets, "apps", "home-agent-credentials")?.["data"];
      const [file] = Object.keys(copy ?? {});
      return isReady(cluster) && file !== undefined &&
        cluster.targets().some(({ credential }) =>
          (credential as { file: string } | undefined)?.file.endsWith(`/${file}`)
        );
    },
  }),
  story({
    name: "a binding goes to another Tunnel",
    before(cluster) {
      putBoth(cluster);
      cluster.putTunnel({}, "other");
      cluster.putBinding("more", [route("more", "more.example.com")], { name: "other" });
    },
    act: (cluster) => cluster.putBinding("shop", routes, { name: "other" }),
    isDone: (cluster) =>
      isReady(cluster) && cluster.relay.services.size === 3 &&
      [...cluster.relay.services.values()].every((it) => it["cluster"] === "apps-other"),
  }),
  story({
    name: "the binding that has the service of a shared hostname is deleted",
    before(cluster) {
      cluster.putTunnel();
      putShared(cluster);
    },
    act: (cluster) => cluster.kube.remove(tunnelBindings, "apps", "shop"),
    isDone: (cluster) =>
      isReady(cluster) && cluster.kube.all(tunnelBindings).length === 1 &&
      serviceNames(cluster).length === 1,
  }),
  story({
    name: "the token's Secret is deleted",
    act: (cluster) => cluster.kube.remove(secrets, "apps", "home-agent-token"),
    isDone(cluster) {
      const secret = cluster.kube.read(secrets, "apps", "home-agent-token");
      const { token } = (secret?.["data"] ?? {}) as { token?: string };
      const tokens = cluster.relay.clusters.get("apps-home")?.["tokens"] as
        | { tokenSha256: string }[]
        | undefined;
      return token !== undefined && tokens?.length === 1 &&
        tokens[0]!.tokenSha256 === digest(atob(token)) && isReady(cluster);
    },
  }),
  story({
    name: "the token is replaced by schedule",
    before(cluster) {
      cluster.putTunnel({ tokenRotation: { every: "1h", overlap: "0s" } });
      cluster.putBinding("shop", routes);
    },
    act(cluster) {
      const secret = cluster.kube.read(secrets, "apps", "home-agent-token")!;
      const annotations = { "culvert.dev/token-since": new Date(0).toISOString() };
      cluster.kube.put(secrets, { ...secret, metadata: { ...secret.metadata, annotations } });
    },
    isDone(cluster) {
      const secret = cluster.kube.read(secrets, "apps", "home-agent-token");
      const { token = "" } = (secret?.["data"] ?? {}) as { token?: string };
      const tokens = cluster.relay.clusters.get("apps-home")?.["tokens"] as
        | { tokenSha256: string }[]
        | undefined;
      const since = secret?.metadata.annotations?.["culvert.dev/token-since"] ?? "";
      return Date.parse(since) > 0 && tokens?.length === 1 &&
        tokens[0]!.tokenSha256 === digest(atob(token)) && isReady(cluster);
    },
  }),
  story({
    name: "annotations of a Service change",
    before(cluster) {
      cluster.putTunnel();
      cluster.putService("web", {
        annotations: { "culvert.dev/tunnel": "home", "culvert.dev/hostname": "web.example.com" },
      });
    },
    act: (cluster) =>
      cluster.putService("web", {
        annotations: { "culvert.dev/tunnel": "home", "culvert.dev/hostname": "www.example.com" },
      }),
    isDone: (cluster) =>
      isReady(cluster) &&
      JSON.stringify([...cluster.relay.services.values()]).includes("www.example.com"),
  }),
  story({
    name: "annotations of a Service are taken off",
    before(cluster) {
      putBoth(cluster);
      cluster.putService("web", {
        annotations: { "culvert.dev/tunnel": "home", "culvert.dev/hostname": "web.example.com" },
      });
    },
    act: (cluster) => cluster.putService("web"),
    isDone: (cluster) =>
      isReady(cluster) && cluster.relay.services.size === 2 &&
      cluster.kube.all(tunnelBindings).length === 1,
  }),
  story({
    name: "a binding goes to a ClusterTunnel",
    before(cluster) {
      putBoth(cluster);
      cluster.kube.put(clusterTunnels, {
        metadata: { name: "shared" },
        spec: tunnelSpec({ allowedBindings: { namespaces: "All" } }),
      });
    },
    act: (cluster) => cluster.putBinding("shop", routes, { kind: "ClusterTunnel", name: "shared" }),
    isDone: (cluster) =>
      isReady(cluster) && cluster.relay.services.size === 2 &&
      [...cluster.relay.services.values()].every((it) => it["cluster"] === "shared"),
  }),
  story({
    name: "an AccessPolicy goes",
    before(cluster) {
      putBoth(cluster);
      cluster.kube.put(accessPolicies, {
        metadata: { name: "staff", namespace: "apps" },
        spec: { targetRefs: [{ name: "shop" }], any: [{ emailDomain: "example.com" }] },
      });
    },
    act: (cluster) => cluster.kube.remove(accessPolicies, "apps", "staff"),
    isDone: (cluster) =>
      isReady(cluster) && cluster.relay.policies.size === 0 &&
      [...cluster.relay.services.values()].every(({ policy }) => policy === "staff"),
  }),
  story({
    name: "Tunnel and binding are deleted",
    act(cluster) {
      cluster.kube.remove(tunnelBindings, "apps", "shop");
      cluster.kube.remove(tunnels, "apps", "home");
    },
    isDone: ({ kube }) => kube.all(tunnels).length + kube.all(tunnelBindings).length === 0,
  }),
];

for (const it of stories) {
  Deno.test(`the relay is away while ${it.name}: the end is the same`, async () => {
    await assertSameEndAfterAbsence(it);
  });
  Deno.test(`the answer to each write is lost while ${it.name}: the end is the same`, async () => {
    await assertSameEndWithLostAnswers(it);
  });
  Deno.test(`the operator is killed after any write while ${it.name}: the end is the same`, async () => {
    await assertSameEnd(it);
  });
  Deno.test(`the operator is killed after any write while ${it.name}, and all is deleted: nothing is left`, async () => {
    await assertNothingLeft(it);
  });
}

Deno.test("two operators that both act at once come to the same end", async () => {
  await assertTwoAgree(stories[0]!);
});

/** By cluster: its zone at Cloudflare. */
const zones = new WeakMap<Cluster, FakeCloudflare>();

function cloudCluster(): Cluster {
  const cluster = new Cluster();
  zones.set(cluster, cluster.useCloudflare());
  return cluster;
}

function putDns(cluster: Cluster, target: string): void {
  const dns = { provider: "Cloudflare", target, zone: "example.com" };
  cluster.putTunnel({ dns: { ...dns, secretRef: { name: "cloudflare" } } });
}

function records(cluster: Cluster): string[] {
  return [...zones.get(cluster)!.records.values()]
    .map(({ type, name, content }) => `${type} ${name} ${content}`).sort();
}

const cloudStories: readonly Story[] = [
  {
    name: "the target of records at Cloudflare changes",
    act: (cluster: Cluster) => putDns(cluster, "192.0.2.8"),
    isDone: (cluster: Cluster) =>
      isReady(cluster) && records(cluster).filter((it) => it.endsWith(" 192.0.2.8")).length === 2,
  },
  {
    name: "a hostname with a record at Cloudflare changes",
    act: (cluster: Cluster) =>
      cluster.putBinding("shop", [routes[0], route("api", "app.example.com")]),
    isDone: (cluster: Cluster) =>
      isReady(cluster) && records(cluster).length === 4 &&
      records(cluster).some((it) => it.startsWith("CNAME app.")),
  },
  {
    name: "hostname and target of records at Cloudflare change together",
    act(cluster: Cluster) {
      putDns(cluster, "2001:db8::8");
      cluster.putBinding("shop", [routes[0], route("api", "app.example.com")]);
    },
    isDone: (cluster: Cluster) =>
      isReady(cluster) && records(cluster).length === 4 &&
      records(cluster).filter((it) => it.startsWith("AAAA ")).length === 2 &&
      records(cluster).some((it) => it.includes(" app.")),
  },
  {
    name: "the binding that has the record of a shared hostname is deleted",
    before(cluster: Cluster) {
      putDns(cluster, "relay.example.net");
      putShared(cluster);
    },
    act: (cluster: Cluster) => cluster.kube.remove(tunnelBindings, "apps", "shop"),
    isDone: (cluster: Cluster) =>
      isReady(cluster) && records(cluster).length === 2 &&
      records(cluster).join().includes("culvert/resource=tunnelbinding/apps/paths"),
  },
  {
    name: "records at Cloudflare are not wanted any more",
    act: (cluster: Cluster) => cluster.putTunnel({ dns: { provider: "None" } }),
    isDone: (cluster: Cluster) => isReady(cluster) && records(cluster).length === 0,
  },
].map((it) => ({
  isPrepared,
  before(cluster) {
    putDns(cluster, "relay.example.net");
    cluster.putBinding("shop", routes);
  },
  ...it,
  cluster: cloudCluster,
  outside: (cluster) => Promise.resolve(records(cluster)),
}));

Deno.test("the answer to each write is lost while the target of records at Cloudflare changes", async () => {
  await assertSameEndWithLostAnswers(cloudStories[0]!);
});

for (const it of cloudStories) {
  Deno.test(`the operator is killed after any write while ${it.name}: the end is the same`, async () => {
    await assertSameEnd(it);
  });
  Deno.test(`the operator is killed after any write while ${it.name}, and all is deleted: nothing is left`, async () => {
    await assertNothingLeft(it);
  });
}
