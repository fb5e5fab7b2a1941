/** Proxies and client certificates on the way to the relay, of agents and of the operator. */
import assert from "node:assert/strict";
import { configMaps, deployments, events, secrets } from "../../lib/kube/resources.ts";
import { clusterTunnels, tunnels } from "../../lib/operator/api/crds.ts";
import type { RelayTls } from "../../lib/operator/relay/relay_api.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, endpoint, tunnelSpec } from "./harness.ts";

const password = "proxy-password-0123456789";
const proxyUrl = `http://user:${password}@proxy.test:3128`;

function putSecret({ kube }: Cluster, name: string, data: Record<string, string>): void {
  const encoded = Object.entries(data).map(([key, text]) => [key, btoa(text)]);
  kube.put(secrets, { metadata: { name, namespace: "apps" }, data: Object.fromEntries(encoded) });
}

function specOf(relay: Record<string, unknown>, api: Record<string, unknown> = {}) {
  const known = tunnelSpec()["relay"] as Record<string, unknown>;
  const tokenRef = { name: "relay-api" };
  return { relay: { ...known, registration: { api: { endpoint, tokenRef, ...api } }, ...relay } };
}

interface PodSpec {
  readonly containers: readonly { readonly args: readonly string[] }[];
  readonly volumes: readonly { readonly name: string }[];
}

function podOf({ kube }: Cluster): PodSpec {
  const { spec } = kube.read(deployments, "apps", "home-agent") as unknown as {
    spec: { template: { spec: PodSpec } };
  };
  return spec.template.spec;
}

Deno.test("agents read the proxy from a file, its Secret's; only Secrets have the password", async () => {
  const cluster = new Cluster();
  putSecret(cluster, "way-out", { proxy: proxyUrl });
  const said: RelayTls[] = [];
  const proxyRef = { name: "way-out" };
  cluster.putTunnel(specOf({ proxyRef }, { proxyRef }));
  await using running = cluster.start({
    relay: (fetch) => (url, init, tls) => {
      said.push(tls);
      return fetch(url, init, tls);
    },
  });
  await cluster.ready();
  const { containers: [container], volumes } = podOf(cluster);
  assert.ok(container!.args.includes("--proxy-file=/etc/culvert/relay-proxy/proxy"));
  assert.deepEqual(volumes.find(({ name }) => name === "relay-proxy"), {
    name: "relay-proxy",
    secret: { secretName: "way-out", items: [{ key: "proxy", path: "proxy" }] },
  });
  const basicAuth = { username: "user", password };
  assert.deepEqual(said[0]!.proxy, { url: "http://proxy.test:3128", basicAuth });
  const { kube, relay } = cluster;
  const written = kube.requests.filter(({ path }) => !path.includes("/secrets"))
    .map(({ body }) => body);
  const text = JSON.stringify([written, [...relay.clusters], running.log.lines]);
  for (const secret of [password, btoa(password), btoa(`user:${password}`), btoa(proxyUrl)]) {
    assert.equal(text.includes(secret), false);
  }
});

Deno.test("a proxy may be in a ConfigMap", async () => {
  const cluster = new Cluster();
  cluster.kube.put(configMaps, {
    metadata: { name: "net", namespace: "apps" },
    data: { http: "proxy.test:3128\n" },
  });
  cluster.putTunnel(specOf({ proxyRef: { kind: "ConfigMap", name: "net", key: "http" } }));
  await using _ = cluster.start();
  await cluster.ready();
  assert.deepEqual(podOf(cluster).volumes.find(({ name }) => name === "relay-proxy"), {
    name: "relay-proxy",
    configMap: { name: "net", items: [{ key: "http", path: "proxy" }] },
  });
});

Deno.test("agents mount their client certificate, and the operator shows its own to the admin API", async () => {
  const cluster = new Cluster();
  putSecret(cluster, "agent-tls", { "tls.crt": "CERT", "tls.key": "KEY" });
  putSecret(cluster, "operator-tls", { "tls.crt": "OPERATOR", "tls.key": "OPERATOR-KEY" });
  const said: RelayTls[] = [];
  cluster.putTunnel(
    specOf({ clientCertRef: { name: "agent-tls" } }, { clientCertRef: { name: "operator-tls" } }),
  );
  await using _ = cluster.start({
    relay: (fetch) => (url, init, tls) => {
      said.push(tls);
      return fetch(url, init, tls);
    },
  });
  await cluster.ready();
  const { containers: [container], volumes } = podOf(cluster);
  assert.ok(container!.args.includes("--client-cert=/etc/culvert/relay-client/tls.crt"));
  assert.ok(container!.args.includes("--client-key=/etc/culvert/relay-client/tls.key"));
  assert.deepEqual(volumes.find(({ name }) => name === "relay-client"), {
    name: "relay-client",
    secret: { secretName: "agent-tls" },
  });
  assert.deepEqual(said[0]!.pair, { cert: "OPERATOR", key: "OPERATOR-KEY" });
  // A renewed certificate is shown with the next look.
  const pair = { cert: "RENEWED", key: "RENEWED-KEY" };
  putSecret(cluster, "operator-tls", { "tls.crt": pair.cert, "tls.key": pair.key });
  await eventually(
    () => said.some((tls) => tls.pair?.cert === pair.cert && tls.pair.key === pair.key),
    "the renewed certificate",
  );
});

const faults = [
  {
    relay: { proxyRef: { name: "none" } },
    reason: "ProxyMissing",
    message: "There is no Secret apps/none with the key proxy",
  },
  {
    relay: { proxyRef: { name: "bad" } },
    reason: "ProxyInvalid",
    message: /^Secret apps\/bad: proxy must not be a SOCKS proxy/,
  },
  {
    relay: { clientCertRef: { name: "bad" } },
    reason: "ClientCertMissing",
    message: "There is no Secret apps/bad with the key tls.crt",
  },
  {
    relay: { caRef: { name: "none" } },
    reason: "CaMissing",
    message: "There is no ConfigMap apps/none with the key ca.crt",
  },
];

for (const { relay, reason, message } of faults) {
  const field = Object.keys(relay)[0]!;
  Deno.test(`a ${field} of agents that is ${reason} is a condition, and what is right heals it`, async () => {
    const cluster = new Cluster();
    putSecret(cluster, "bad", { proxy: `socks5://user:${password}@proxy.test` });
    cluster.putTunnel(specOf(relay));
    await using running = cluster.start();
    const condition = await cluster.condition(tunnels, "home", "AgentAvailable", reason);
    if (typeof message === "string") assert.equal(condition.message, message);
    else assert.match(condition.message, message);
    const told = JSON.stringify([cluster.kube.all(events), running.log.lines, condition]);
    assert.equal(told.includes(password), false);
    for (const name of ["none", "bad"]) {
      putSecret(cluster, name, { proxy: proxyUrl, "tls.crt": "CERT", "tls.key": "KEY" });
    }
    cluster.kube.put(configMaps, {
      metadata: { name: "none", namespace: "apps" },
      data: { "ca.crt": "CA" },
    });
    await cluster.ready();
  });

  Deno.test(`a ${field} of the admin API that is ${reason} keeps the tunnel from being registered`, async () => {
    const cluster = new Cluster();
    putSecret(cluster, "bad", { proxy: `socks5://user:${password}@proxy.test` });
    cluster.putTunnel(specOf({}, relay));
    await using _ = cluster.start();
    await cluster.condition(tunnels, "home", "Registered", reason);
    assert.deepEqual(cluster.relay.calls, []);
  });
}

Deno.test("a tunnel of the operator's namespace can't use what is kept of other namespaces", async (t) => {
  const cluster = new Cluster();
  cluster.putTunnel({}, "victim");
  await using _ = cluster.start();
  await cluster.ready(tunnels, "victim");
  const name = "culvert-operator-kept-apps";
  const [key] = Object.keys(cluster.kube.read(secrets, "ops", name)!["data"] as object);
  const { url } = tunnelSpec()["relay"] as { url: string };
  const tokenRef = { name, key };
  const theft = { kind: "Secret", name, key };
  const cases: [string, Record<string, unknown>, string, string][] = [
    ["the admin API's token", specOf({}, { tokenRef }), "Registered", "TokenMissing"],
    [
      "an agent's token",
      { relay: { url, registration: { existing: { tokenRef } } } },
      ...["Registered", "TokenMissing"] as const,
    ],
    ["a proxy", specOf({}, { proxyRef: theft }), "Registered", "ProxyMissing"],
    ["a CA of agents", specOf({ caRef: theft }), "AgentAvailable", "CaMissing"],
  ];
  for (const [what, spec, type, reason] of cases) {
    await t.step(what, async () => {
      for (const [resource, namespace] of [[tunnels, "ops"], [clusterTunnels, null]] as const) {
        const at = namespace === null ? {} : { namespace };
        cluster.kube.put(resource, {
          metadata: { name: "thief", ...at },
          spec: tunnelSpec(spec),
        });
        const found = await cluster.condition(resource, "thief", type, reason, namespace);
        assert.equal(found.message, `There is no Secret ops/${name} with the key ${key}`);
      }
    });
  }
});

Deno.test("what a namespace's Tunnels name for their relays is bounded; the same CA counts once", async () => {
  const cluster = new Cluster();
  const putCa = (name: string, text: string) =>
    cluster.kube.put(configMaps, {
      metadata: { name, namespace: "apps" },
      data: { "ca.crt": text.repeat(300_000) },
    });
  const putTunnel = (name: string, ca: string) => {
    const caRef = { kind: "ConfigMap", name: ca, key: "ca.crt" };
    cluster.putTunnel(specOf({}, { caRef }), name);
  };
  putCa("one", "1");
  putCa("same", "1");
  putCa("other", "2");
  putTunnel("home", "one");
  putTunnel("second", "same");
  await using _ = cluster.start();
  await cluster.ready();
  await cluster.ready(tunnels, "second");
  putTunnel("third", "other");
  const { status, message } = await cluster.condition(
    tunnels,
    "third",
    "Registered",
    "CredentialsTooLarge",
  );
  assert.deepEqual([status, message], [
    "False",
    "What Tunnels of apps name for their relays' admin APIs has more than 524288 characters together",
  ]);
  putCa("other", "1");
  await cluster.ready(tunnels, "third");
});
