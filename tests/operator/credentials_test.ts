/** Credentials that routes take from Secrets, on their way to the agents that add them to requests. */
import assert from "node:assert/strict";
import { configMaps, deployments, pods, secrets, services } from "../../lib/kube/resources.ts";
import { readTargets } from "../../lib/config/entries/targets.ts";
import { clusterTunnels, tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, conditionsOf, route, tunnelSpec } from "./harness.ts";

const token = "token-of-the-shop-0123456789";
const other = "another-token-of-the-shop-9876543210";

interface SecretMore {
  readonly labels?: Record<string, string>;
  readonly namespace?: string;
  readonly key?: string;
}

function putSecret(cluster: Cluster, text: string | undefined, more: SecretMore = {}): void {
  const { labels = { "culvert.dev/use": "true" }, namespace = "apps", key = "token" } = more;
  const data = text === undefined ? {} : { [key]: btoa(text) };
  // Written as a whole: a label that is left out is gone.
  cluster.kube.remove(secrets, namespace, "shop-token");
  cluster.kube.put(secrets, { metadata: { name: "shop-token", namespace, labels }, data });
}

function withCredential(more: Record<string, unknown> = {}) {
  const authorization = { secretRef: { name: "shop-token", key: "token" }, ...more };
  return route("main", "shop.example.com", { authorization });
}

/** What agents find in their folder of credentials, by the name of the file. */
function credentials(cluster: Cluster, namespace = "apps", name = "home-agent-credentials") {
  const secret = cluster.kube.read(secrets, namespace, name);
  const entries = Object.entries((secret?.["data"] ?? {}) as Record<string, string>);
  return Object.fromEntries(entries.map(([file, text]) => [file, atob(text)]));
}

/** Waits until the binding's route is not published, and says why. */
async function isWithheld(cluster: Cluster, reason: string): Promise<string> {
  const { message } = await cluster.condition(tunnelBindings, "shop", "ResolvedRefs", reason);
  await eventually(() => cluster.relay.services.size === 0, "the route not to be published");
  await eventually(() => cluster.targets().length === 0, "the agents to have no target");
  await eventually(() => Object.keys(credentials(cluster)).length === 0, "no copy");
  return message;
}

Deno.test("a route's credential is in one Secret of the tunnel's, from which its target takes it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  putSecret(cluster, `${token}\n`);
  cluster.putBinding("shop", [withCredential()]);
  await using running = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const [target] = cluster.targets() as { name: string; credential: { file: string } }[];
  assert.deepEqual(credentials(cluster), { [target!.name]: token });
  assert.deepEqual(target!.credential, { file: `/etc/culvert/credentials/${target!.name}` });
  const copy = cluster.kube.read(secrets, "apps", "home-agent-credentials")!;
  assert.equal(copy.metadata.ownerReferences?.[0]?.kind, "Tunnel");
  assert.equal(copy.metadata.labels?.["culvert.dev/tunnel"], "home");
  const elsewhere = cluster.kube.state() as [string, unknown][];
  const text = JSON.stringify([
    elsewhere.filter(([key]) => !key.startsWith("secrets ")),
    cluster.relay.calls,
    [...cluster.relay.services],
    running.log.lines,
  ]);
  for (const secret of [token, btoa(token), btoa(`${token}\n`)]) {
    assert.equal(text.includes(secret), false, "the credential is in another object");
  }
});

Deno.test("agents find credentials where their targets file says, and no pod is replaced for the first", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(cluster.kube.read(secrets, "apps", "home-agent-credentials"), undefined);
  const before = cluster.kube.read(deployments, "apps", "home-agent")!;
  const uids = cluster.kube.all(pods).map(({ metadata }) => metadata.uid);
  putSecret(cluster, token);
  cluster.putBinding("shop", [withCredential()]);
  await eventually(() => cluster.targets()[0]?.["credential"] !== undefined, "the credential");
  await cluster.ready(tunnelBindings, "shop");
  const after = cluster.kube.read(deployments, "apps", "home-agent")!;
  assert.equal(after.metadata.generation, before.metadata.generation);
  assert.deepEqual(cluster.kube.all(pods).map(({ metadata }) => metadata.uid), uids);

  const { data } = cluster.kube.read(configMaps, "apps", "home-routes") as unknown as {
    data: Record<string, string>;
  };
  const [target] = readTargets(data["targets.yaml"]!, "The ConfigMap");
  const { template } = after["spec"] as { template: { spec: PodSpec } };
  const { volumes, containers: [agent] } = template.spec;
  const [, folder, file] = /^(.*)\/([^/]+)$/.exec(target!.credential!.file)!;
  const mount = agent!.volumeMounts.find(({ mountPath }) => mountPath === folder)!;
  const { secret } = volumes.find(({ name }) => name === mount.name)!;
  assert.deepEqual(secret, { secretName: "home-agent-credentials", optional: true });
  assert.deepEqual(Object.keys(credentials(cluster)), [file]);
});

interface PodSpec {
  readonly volumes: readonly { readonly name: string; readonly secret?: unknown }[];
  readonly containers: readonly {
    readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  }[];
}

Deno.test("somebody else's Secret of the name stays as it is, and troubles no tunnel without credentials", async () => {
  const cluster = new Cluster();
  cluster.kube.put(secrets, {
    metadata: { name: "home-agent-credentials", namespace: "apps" },
    data: { password: btoa("theirs") },
  });
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  putSecret(cluster, token);
  cluster.putBinding("shop", [withCredential()]);
  await cluster.condition(tunnels, "home", "AgentAvailable", "Conflict");
  assert.deepEqual(credentials(cluster), { password: "theirs" });
});

Deno.test("a changed credential reaches the agents at once, and pods tell nothing of it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  putSecret(cluster, token);
  cluster.putBinding("shop", [withCredential()]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const targets = cluster.targets();
  putSecret(cluster, other);
  await eventually(() => Object.values(credentials(cluster))[0] === other, "the new credential");
  assert.deepEqual(cluster.targets(), targets, "the table stays");
  const { resourceVersion } =
    cluster.kube.read(secrets, "apps", "home-agent-credentials")!.metadata;
  const told = () =>
    cluster.kube.all(pods).map(({ metadata }) => metadata.annotations?.["culvert.dev/credentials"]);
  await eventually(
    () => told().length > 0 && told().every((version) => version === resourceVersion),
    "kubelet to be told",
  );
});

Deno.test("a key that every object of the language has holds up no route", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  putSecret(cluster, token);
  cluster.kube.put(configMaps, { metadata: { name: "ca", namespace: "apps" }, data: {} });
  const secretRef = { name: "shop-token", key: "constructor" };
  const tls = { caRef: { name: "ca", key: "__proto__" } };
  cluster.putBinding("shop", [
    withCredential({ secretRef }),
    route("tls", "tls.example.com", { protocol: "https", tls }),
  ]);
  await using _ = cluster.start();
  cluster.putBinding("other", [route("main", "other.example.com")]);
  await cluster.ready(tunnelBindings, "other");
  const binding = cluster.kube.read(tunnelBindings, "apps", "shop")!;
  const { routes } = binding["status"] as {
    routes: { conditions: { type: string; reason: string }[] }[];
  };
  assert.deepEqual(
    routes.map(({ conditions }) => conditions.find(({ type }) => type === "ResolvedRefs")!.reason),
    ["CredentialNotFound", "CaNotFound"],
  );
});

Deno.test("a credential that can't be had keeps its route off the relay, and says why without it", async (t) => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [withCredential()]);
  await using running = cluster.start();
  const cases: [string, () => void, string, RegExp][] = [
    [
      "no Secret",
      () => cluster.kube.remove(secrets, "apps", "shop-token"),
      "CredentialNotFound",
      /^There is no Secret apps\/shop-token with the key token$/,
    ],
    [
      "no label",
      () => putSecret(cluster, token, { labels: {} }),
      "RefNotPermitted",
      /^Secret apps\/shop-token needs the label culvert\.dev\/use=true/,
    ],
    [
      "a label that says no",
      () => putSecret(cluster, token, { labels: { "culvert.dev/use": "false" } }),
      "RefNotPermitted",
      /needs the label/,
    ],
    [
      "another key",
      () => putSecret(cluster, token, { key: "password" }),
      "CredentialNotFound",
      /with the key token$/,
    ],
    ["nothing in it", () => putSecret(cluster, "\n"), "CredentialInvalid", /the token is empty$/],
    [
      "a second line",
      () => putSecret(cluster, `${token}\r\nX-Admin: 1`),
      "CredentialInvalid",
      /must be one token of visible ASCII characters/,
    ],
    [
      "its scheme",
      () => putSecret(cluster, `Bearer ${token}`),
      "CredentialInvalid",
      /begins with "Bearer"; give the token alone/,
    ],
    [
      "too much",
      () => putSecret(cluster, token.repeat(200)),
      "CredentialInvalid",
      /more than 4096 characters/,
    ],
  ];
  for (const [name, put, reason, expected] of cases) {
    await t.step(name, async () => {
      putSecret(cluster, token);
      await cluster.ready(tunnelBindings, "shop");
      put();
      const message = await isWithheld(cluster, reason);
      assert.match(message, expected);
      const status = cluster.kube.read(tunnelBindings, "apps", "shop")!["status"];
      const said = JSON.stringify([
        status,
        conditionsOf(cluster.kube.read(tunnelBindings, "apps", "shop")),
      ]);
      assert.equal((said + JSON.stringify(running.log.lines)).includes(token), false);
    });
  }
});

Deno.test("a credential stays in its namespace: another one's Tunnel does not get it, a ClusterTunnel does", async () => {
  const cluster = new Cluster();
  const allowedBindings = { namespaces: "All" };
  cluster.putTunnel({ allowedBindings });
  cluster.kube.put(clusterTunnels, {
    metadata: { name: "shared" },
    spec: tunnelSpec({ allowedBindings }),
  });
  cluster.kube.put(services, {
    metadata: { name: "web", namespace: "infra" },
    spec: { ports: [{ port: 80 }] },
  });
  putSecret(cluster, token, { namespace: "infra" });
  const bind = (tunnelRef: unknown) =>
    cluster.kube.put(tunnelBindings, {
      metadata: { name: "shop", namespace: "infra" },
      spec: { tunnelRef, routes: [withCredential()] },
    });
  bind({ name: "home", namespace: "apps" });
  await using _ = cluster.start();
  const { message } = await cluster.condition(
    ...[tunnelBindings, "shop", "ResolvedRefs", "RefNotPermitted", "infra"] as const,
  );
  assert.match(message, /must not be copied to namespace apps: name a Tunnel of namespace infra/);
  assert.equal(cluster.relay.services.size, 0);
  assert.equal(cluster.kube.read(secrets, "apps", "home-agent-credentials"), undefined);
  bind({ kind: "ClusterTunnel", name: "shared" });
  await cluster.ready(tunnelBindings, "shop", "infra");
  assert.deepEqual(Object.values(credentials(cluster, "ops", "cluster-shared-agent-credentials")), [
    token,
  ]);
});

Deno.test("header and scheme go into the target, and another Secret into the same file", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  putSecret(cluster, token);
  cluster.putBinding("shop", [withCredential({ header: "X-Api-Key", scheme: "" })]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const [target] = cluster.targets() as { name: string; credential: Record<string, string> }[];
  const file = `/etc/culvert/credentials/${target!.name}`;
  assert.deepEqual(target!.credential, { file, header: "X-Api-Key", scheme: "" });
  cluster.kube.put(secrets, {
    metadata: { name: "next", namespace: "apps", labels: { "culvert.dev/use": "true" } },
    data: { key: btoa(other) },
  });
  cluster.putBinding("shop", [withCredential({ secretRef: { name: "next", key: "key" } })]);
  await eventually(() => Object.values(credentials(cluster))[0] === other, "the other Secret's");
  assert.deepEqual(Object.keys(credentials(cluster)), [target!.name]);
});

Deno.test("what runs goes on while the API server can't tell the credential, and an operator that starts then waits", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  putSecret(cluster, token);
  cluster.putBinding("shop", [withCredential()]);
  const ask = /\/secrets\/shop-token$/;
  let asked = 0;
  const fail = () => {
    asked = 0;
    cluster.kube.intercept = ({ path }) => {
      if (!ask.test(path)) return undefined;
      asked++;
      return new Response("{}", { status: 500 });
    };
  };
  {
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "shop");
    fail();
    await eventually(() => asked > 2, "looks that fail");
    assert.equal(cluster.relay.services.size, 1);
  }
  const writes = cluster.kube.writes.length;
  await using _ = cluster.start();
  await eventually(() => asked > 5, "looks that fail");
  assert.equal(cluster.relay.services.size, 1);
  assert.deepEqual(Object.values(credentials(cluster)), [token]);
  assert.equal(cluster.kube.writes.length, writes);
});
