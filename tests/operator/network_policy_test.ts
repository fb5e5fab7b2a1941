/** The NetworkPolicy of agents: it allows what their table dials, and nothing else. */
import assert from "node:assert/strict";
import type { KubeObject } from "../../lib/kube/objects.ts";
import { configMaps, deployments, networkPolicies, services } from "../../lib/kube/resources.ts";
import { tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import {
  allowsFrom,
  allowsTo,
  type Endpoint,
  isAbout,
} from "../support/network_policy_verdicts.ts";
import { Cluster, endpoint, route, tunnelSpec } from "./harness.ts";

const isOn = { agent: { networkPolicy: { enabled: true } } };

function policyOf(cluster: Cluster): KubeObject | undefined {
  return cluster.kube.read(networkPolicies, "apps", "home-agent");
}

interface ServiceSpec {
  readonly clusterIP?: string;
  readonly selector?: Readonly<Record<string, string>>;
  readonly ports: readonly { readonly port: number; readonly targetPort: number | string }[];
}

const pods: readonly Endpoint[] = [
  {
    ip: "10.1.0.1",
    namespace: "apps",
    labels: { app: "web", color: "blue" },
    ports: { http: 8081 },
  },
  {
    ip: "10.1.0.2",
    namespace: "apps",
    labels: { app: "web", color: "green" },
    ports: { http: 8082 },
  },
  { ip: "10.1.0.3", namespace: "apps", labels: { app: "db" }, ports: { sql: 5432 } },
  { ip: "10.1.0.4", namespace: "infra", labels: { app: "web" }, ports: { http: 8081 } },
  { ip: "10.1.0.5", namespace: "other", labels: { app: "web" }, ports: { http: 8081 } },
];

const serviceSpecs: Readonly<Record<string, ServiceSpec>> = {
  "apps/web": {
    selector: { app: "web" },
    ports: [{ port: 80, targetPort: "http" }, { port: 90, targetPort: 9090 }],
  },
  "apps/blue": { selector: { app: "web", color: "blue" }, ports: [{ port: 80, targetPort: 7070 }] },
  "apps/deep": {
    selector: { app: "web", color: "green" },
    ports: [{ port: 80, targetPort: 4040 }],
  },
  "apps/db": {
    clusterIP: "None",
    selector: { app: "db" },
    ports: [{ port: 5000, targetPort: 5432 }],
  },
  "apps/unused": { selector: { app: "db" }, ports: [{ port: 80, targetPort: 6060 }] },
  "infra/web": { selector: { app: "web" }, ports: [{ port: 80, targetPort: 8081 }] },
};

/** Where the agents' connections end, as kube-proxy and DNS lead them: `IP:PORT`. */
function dialed(cluster: Cluster): Set<string> {
  const ends = cluster.targets().flatMap(({ address }) => {
    // A target that chooses among others by path dials nothing itself.
    if (address === undefined) return [];
    const [, name, namespace, port] = /^(.+)\.(.+)\.svc:(\d+)$/.exec(String(address))!;
    const spec = cluster.kube.read(services, namespace, name!)!["spec"] as ServiceSpec;
    const own = pods.filter((pod) =>
      pod.namespace === namespace &&
      Object.entries(spec.selector!).every(([label, value]) => pod.labels![label] === value)
    );
    if (spec.clusterIP === "None") return own.map(({ ip }) => `${ip}:${port}`);
    const { targetPort } = spec.ports.find((it) => it.port === Number(port))!;
    return own.map(({ ip, ports }) =>
      `${ip}:${typeof targetPort === "number" ? targetPort : ports![targetPort]}`
    );
  });
  return new Set(ends);
}

const candidates = [80, 90, 4040, 5000, 5432, 6060, 7070, 8081, 8082, 9090];

/** Where the policy lets them. */
function allowed(cluster: Cluster): Set<string> {
  const policy = policyOf(cluster)!;
  const ends = pods.flatMap((pod) =>
    candidates.filter((port) => allowsTo(policy, pod, port)).map((port) => `${pod.ip}:${port}`)
  );
  return new Set(ends);
}

function putServices(cluster: Cluster): void {
  for (const [key, spec] of Object.entries(serviceSpecs)) {
    const [namespace = "", name = ""] = key.split("/");
    cluster.kube.put(services, {
      metadata: { name, namespace },
      spec: { type: "ClusterIP", clusterIP: "10.0.0.9", ...spec },
    });
  }
}

function backend(name: string, port: number) {
  return { backend: { service: { name, port } } };
}

Deno.test("agents may reach the pods that their table dials, and no other port or pod", async () => {
  const cluster = new Cluster();
  putServices(cluster);
  cluster.putTunnel({ ...isOn, allowedBindings: { namespaces: "All" } });
  cluster.putBinding("one", [
    route("web", "web.example.com", backend("web", 80)),
    route("more", "more.example.com", backend("web", 90)),
    route("blue", "blue.example.com", backend("blue", 80)),
    route("below", "web.example.com", { ...backend("deep", 80), path: { value: "/deep" } }),
    route("db", "db.example.com", { ...backend("db", 5000), protocol: "tcp" }),
  ]);
  cluster.kube.put(tunnelBindings, {
    metadata: { name: "far", namespace: "infra" },
    spec: {
      tunnelRef: { name: "home", namespace: "apps" },
      routes: [route("web", "far.example.com", backend("web", 80))],
    },
  });
  await using running = cluster.start();
  await cluster.ready();
  await eventually(() => running.operator.isSettled, "the operator to settle");
  assert.equal(cluster.targets().filter(({ address }) => address !== undefined).length, 6);
  assert.deepEqual([...dialed(cluster)].sort(), [
    ...["10.1.0.1:7070", "10.1.0.1:8081", "10.1.0.1:9090", "10.1.0.2:4040", "10.1.0.2:8082"],
    ...["10.1.0.2:9090", "10.1.0.3:5432", "10.1.0.4:8081"],
  ]);
  assert.deepEqual([...allowed(cluster)].sort(), [...dialed(cluster)].sort());

  const { template } = cluster.kube.read(deployments, "apps", "home-agent")!["spec"] as {
    template: { metadata: { labels: Record<string, string> } };
  };
  assert.ok(isAbout(policyOf(cluster)!, template.metadata.labels));
  assert.equal(isAbout(policyOf(cluster)!, pods[0]!.labels!), false);

  // The Service leads to other pods from now on.
  const web = cluster.kube.read(services, "apps", "web")!;
  cluster.kube.put(services, {
    ...web,
    spec: { ...web["spec"] as ServiceSpec, selector: { color: "green" } },
  });
  await eventually(() => !allowed(cluster).has("10.1.0.1:9090"), "the old pods to be left out");
  assert.deepEqual([...allowed(cluster)].sort(), [...dialed(cluster)].sort());

  cluster.kube.remove(tunnelBindings, "apps", "one");
  await eventually(() => allowed(cluster).size === 1, "the binding's pods to be left out");
  assert.deepEqual([...allowed(cluster)], ["10.1.0.4:8081"]);
});

const relay: Endpoint = { ip: "203.0.113.10" };
const elsewhere: Endpoint = { ip: "198.51.100.7" };

/** The policy of a Tunnel that has what is given. */
async function policyWith(
  networkPolicy: Record<string, unknown>,
  more: Record<string, unknown> = {},
): Promise<KubeObject> {
  const cluster = new Cluster();
  cluster.putTunnel({ agent: { networkPolicy: { enabled: true, ...networkPolicy } }, ...more });
  await using _ = cluster.start();
  await eventually(() => policyOf(cluster) !== undefined, "the policy");
  return policyOf(cluster)!;
}

Deno.test("agents may reach DNS and the relay's port, and nobody reaches more than their health listener", async () => {
  const policy = await policyWith({});
  assert.ok(allowsTo(policy, elsewhere, 53, "UDP") && allowsTo(policy, elsewhere, 53, "TCP"));
  assert.ok(allowsTo(policy, relay, 443));
  for (const port of [80, 6443, 8080]) {
    assert.equal(allowsTo(policy, relay, port), false, `${port}`);
  }
  assert.equal(allowsTo(policy, relay, 443, "UDP"), false);
  assert.ok(allowsFrom(policy, elsewhere, 8081));
  assert.equal(allowsFrom(policy, elsewhere, 8080), false);
});

Deno.test("a Tunnel can name the relay's and the API server's addresses, and further peers", async () => {
  const policy = await policyWith({
    relayCIDRs: ["203.0.113.0/24"],
    apiServerCIDRs: ["192.0.2.1/32"],
    ingressFrom: [{ ipBlock: { cidr: "10.0.0.0/8" } }],
    egress: [{ to: [], ports: [{ protocol: "TCP", port: 3128 }] }],
  }, {
    kubernetesApi: { serviceAccountName: "viewer" },
    relay: {
      url: "wss://relay.test:8443/connect",
      registration: { api: { endpoint, tokenRef: { name: "relay-api", key: "token" } } },
    },
  });
  assert.ok(allowsTo(policy, relay, 8443));
  for (const port of [443, 8443]) assert.equal(allowsTo(policy, elsewhere, port), false, `${port}`);
  for (const port of [443, 6443]) assert.ok(allowsTo(policy, { ip: "192.0.2.1" }, port), `${port}`);
  assert.ok(allowsTo(policy, elsewhere, 3128));
  assert.ok(allowsFrom(policy, { ip: "10.0.0.1" }, 8081));
  assert.equal(allowsFrom(policy, elsewhere, 8081), false);
});

Deno.test("with a proxy, agents may reach the proxy's port, and keep the rule while it can't be read", async () => {
  const cluster = new Cluster();
  const put = (data: Record<string, string>) =>
    cluster.kube.put(configMaps, { metadata: { name: "net", namespace: "apps" }, data });
  put({ proxy: "http://proxy.test:3128" });
  const { relay: known } = tunnelSpec() as { relay: Record<string, unknown> };
  const proxyRef = { kind: "ConfigMap", name: "net", key: "proxy" };
  cluster.putTunnel({ ...isOn, relay: { ...known, proxyRef } });
  await using _ = cluster.start();
  await cluster.ready();
  assert.ok(allowsTo(policyOf(cluster)!, elsewhere, 3128));
  assert.equal(allowsTo(policyOf(cluster)!, relay, 443), false);
  put({});
  await cluster.condition(tunnels, "home", "AgentAvailable", "ProxyMissing");
  assert.ok(allowsTo(policyOf(cluster)!, elsewhere, 3128));
  put({ proxy: "http://proxy.test:3129" });
  await eventually(() => allowsTo(policyOf(cluster)!, elsewhere, 3129), "the proxy's new port");
});

Deno.test("a Service without a selector may lead anywhere: its port is allowed at every address", async () => {
  const cluster = new Cluster();
  cluster.putService("named", { spec: { ports: [{ port: 8088, targetPort: "http" }] } });
  cluster.putService("numbered", { spec: { ports: [{ port: 80, targetPort: 9200 }] } });
  cluster.putTunnel(isOn);
  cluster.putBinding("shop", [
    route("named", "named.example.com", backend("named", 8088)),
    route("numbered", "numbered.example.com", backend("numbered", 80)),
  ]);
  await using _ = cluster.start();
  await cluster.ready();
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  for (const port of [8088, 9200]) {
    assert.ok(allowsTo(policyOf(cluster)!, elsewhere, port), `${port}`);
  }
  assert.equal(allowsTo(policyOf(cluster)!, elsewhere, 80), false);
});

Deno.test("a NetworkPolicy comes back if it is changed, settles, and goes when it is turned off", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ agent: { networkPolicy: { enabled: true, egress: [{ to: [] }] } } });
  await using running = cluster.start();
  await cluster.ready();
  const policy = policyOf(cluster)!;
  cluster.kube.put(networkPolicies, {
    ...policy,
    spec: { podSelector: {}, policyTypes: ["Egress"] },
  });
  await eventually(() => allowsFrom(policyOf(cluster)!, elsewhere, 80) === false, "the policy");
  cluster.putTunnel();
  await eventually(() => policyOf(cluster) === undefined, "the policy to go");
  await eventually(() => running.operator.isSettled, "the operator to settle");
});

Deno.test("agents may reach a Service before they have its route", async () => {
  const cluster = new Cluster();
  putServices(cluster);
  cluster.putTunnel(isOn);
  await using _ = cluster.start();
  await cluster.ready();
  const before = cluster.kube.writes.length;
  cluster.putBinding("shop", [route("blue", "blue.example.com", backend("blue", 80))]);
  await cluster.condition(tunnelBindings, "shop", "Ready", "Ready");
  const written = cluster.kube.writes.slice(before).map(({ path }) => path.split("/").at(-2));
  const order = written.filter((plural) => ["networkpolicies", "configmaps"].includes(plural!));
  assert.deepEqual(order, ["networkpolicies", "configmaps"]);
});

Deno.test("another's NetworkPolicy of the same name stays as it is", async () => {
  const cluster = new Cluster();
  const theirs = cluster.kube.put(networkPolicies, {
    metadata: { name: "home-agent", namespace: "apps" },
    spec: { podSelector: {}, policyTypes: ["Ingress"] },
  });
  cluster.putTunnel(isOn);
  await using _ = cluster.start();
  await cluster.condition(tunnels, "home", "AgentAvailable", "Conflict");
  assert.deepEqual(policyOf(cluster)!["spec"], theirs["spec"]);
});

for (const url of ["wss://[", "wss://relay.test:99999/connect", "wss://[::zz]/connect"]) {
  Deno.test(`a relay.url that is no URL is InvalidSpec: ${url}`, async () => {
    const cluster = new Cluster();
    const { relay } = tunnelSpec() as { relay: object };
    cluster.putTunnel({ ...isOn, relay: { ...relay, url } });
    await using _ = cluster.start();
    const { message } = await cluster.condition(tunnels, "home", "Ready", "InvalidSpec");
    assert.match(message, /spec\.relay\.url: must have a host, and a port up to 65535/);
  });
}

for (const endpoint of ["https://[", "https://relay.test:99999"]) {
  Deno.test(`an endpoint that is no URL is InvalidSpec: ${endpoint}`, async () => {
    const cluster = new Cluster();
    const api = { endpoint, tokenRef: { name: "relay-api" } };
    cluster.putTunnel({ relay: { url: "wss://relay.test/connect", registration: { api } } });
    await using _ = cluster.start();
    const { message } = await cluster.condition(tunnels, "home", "Ready", "InvalidSpec");
    assert.match(message, /spec\.relay\.registration\.api\.endpoint: must have a host/);
  });
}
