/** The operator behind a proxy that refuses, falsifies and cuts what it has to pass. */
import assert from "node:assert/strict";
import { deployments, services } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { addressOf } from "../../support/programs.ts";
import { namespace, OperatorWorld, patienceMs, tunnelBindings, tunnels } from "./cluster.ts";
import { credentialOf, KubeProxy, type ProxiedRequest } from "./kube_proxy.ts";
import { kubeTest } from "./own_kube.ts";

/** One API server does for all of these. */
kubeTest(
  "missing kinds, 429, new tokens and false lists: the operator waits, obeys, and deletes nothing",
  async (kube) => {
    await using proxy = KubeProxy.start(kube);
    await using world = await OperatorWorld.start(kube, ["*"], { hasKinds: false });
    world.apiServer = proxy.url;
    await world.startOperator();
    await waitsForKinds(world);
    world.startKubelet();
    await putRoutes(world);
    await obeysRetryAfter(world, proxy);
    await usesNewToken(world, proxy);
    for (const falsify of [fails, isEmpty]) {
      await keepsWhatListsLack(world, proxy, falsify);
      await startsWithFalseLists(world, proxy, falsify);
    }
  },
);

async function waitsForKinds(world: OperatorWorld): Promise<void> {
  const operator = world.operator!;
  const readyz = async () => {
    const response = await fetch(`http://${await addressOf(operator, "health")}/readyz`);
    return `${response.status} ${(await response.text()).trim()}`;
  };
  const kinds = ["tunnels", "clustertunnels", "tunnelbindings", "accesspolicies"];
  const lines = await operator.waitForLogs(
    kinds.length,
    ({ error }) => /no such kind; install the chart culvert-crds/.test(String(error)),
    { timeoutMs: patienceMs },
  );
  const named = lines.map(({ resource }) => String(resource)).sort();
  assert.deepEqual(named, kinds.map((kind) => `${kind}.culvert.dev`).sort());
  assert.match(await readyz(), /^503 not listed yet: .*tunnels\.culvert\.dev/);
  await world.installKinds();
  await eventually(async () => await readyz() === "200 ok", "the kinds to be found", patienceMs);
  const again = "Watching objects of the API server again";
  await operator.waitForLogs(kinds.length, ({ message }) => message === again);
}

const hostnames = ["one.example.com", "two.example.com"];

async function putRoutes(world: OperatorWorld): Promise<void> {
  await world.putTunnel();
  await world.client.apply(services, {
    metadata: { name: "web", namespace },
    spec: { ports: [{ name: "http", port: 80 }] },
  });
  for (const hostname of hostnames) {
    const name = hostname.split(".")[0]!;
    await world.client.apply(tunnelBindings, {
      metadata: { name, namespace },
      spec: {
        tunnelRef: { name: "main" },
        routes: [{
          name: "main",
          hostnames: [hostname],
          backend: { service: { name: "web", port: 80 } },
        }],
      },
    });
  }
  await world.condition(tunnels, "main", "Ready", "Ready");
  for (const name of ["one", "two"]) {
    await world.condition(tunnelBindings, name, "Ready", "Ready");
  }
}

/** Without a PodDisruptionBudget, which goes when there is one agent: nothing is deleted then. */
async function scale(world: OperatorWorld, replicas: number): Promise<void> {
  await world.putTunnel({ agent: { replicas, healthPort: world.healthPort, pdb: false } });
  await world.replicas(replicas);
}

async function obeysRetryAfter(world: OperatorWorld, proxy: KubeProxy): Promise<void> {
  const refused: ProxiedRequest[] = [];
  proxy.intercept = (request) => {
    if (request.method !== "PATCH" || !request.path.endsWith("/deployments/main-agent")) {
      return undefined;
    }
    if (refused.push(request) > 2) return undefined;
    return status(429, "TooManyRequests", { "retry-after": "2" });
  };
  await scale(world, 2);
  proxy.intercept = undefined;
  const waits = refused.slice(1).map(({ beganMs }, index) => beganMs - refused[index]!.answeredMs!);
  assert.equal(waits.length, 2);
  // A timer may fire a little early.
  for (const wait of waits) assert.ok(wait > 1_950, `${waits}`);
  await scale(world, 1);
}

async function usesNewToken(world: OperatorWorld, proxy: KubeProxy): Promise<void> {
  const credential = credentialOf(await world.renewToken());
  const from = proxy.requests.length;
  const later = () => proxy.requests.slice(from);
  await eventually(
    () => later().filter((request) => request.credential === credential).length > 10,
    "requests with the new token",
    patienceMs,
  );
  const first = later().findIndex((request) => request.credential === credential);
  assert.ok(
    later().slice(first + 5).every((request) => request.credential === credential),
    "and none with the old one",
  );
}

type Falsify = (pass: () => Promise<Response>) => Promise<Response>;

const fails: Falsify = () => Promise.resolve(status(500, "InternalError"));

/** A well-formed page without items. */
const isEmpty: Falsify = async (pass) => {
  const list = await (await pass()).json();
  return Response.json({
    ...list,
    metadata: { resourceVersion: list.metadata.resourceVersion },
    items: [],
  });
};

function falsifyLists(proxy: KubeProxy, falsify: Falsify): Map<string, number> {
  const counts = new Map<string, number>();
  proxy.intercept = ({ path, query }, pass) => {
    if (!query.has("limit")) return undefined;
    counts.set(path, (counts.get(path) ?? 0) + 1);
    return falsify(pass);
  };
  return counts;
}

/** Lists are false while the operator has its caches. */
async function keepsWhatListsLack(
  world: OperatorWorld,
  proxy: KubeProxy,
  falsify: Falsify,
): Promise<void> {
  const counts = falsifyLists(proxy, falsify);
  const lists = proxy.intercept!;
  const asked = new Set<string>();
  proxy.intercept = (request, pass) => {
    const { path, query } = request;
    if (query.get("watch") !== "true" || asked.has(path)) return lists(request, pass);
    asked.add(path);
    return status(410, "Expired");
  };
  proxy.cutWatches();
  const kinds = ["tunnels", "tunnelbindings", "services", "configmaps", "deployments"];
  await eventually(
    () => kinds.every((kind) => [...counts.keys()].some((path) => path.endsWith(`/${kind}`))),
    () => `lists of ${kinds}; there were ${[...counts.keys()]}`,
    patienceMs,
  );
  proxy.intercept = undefined;
  await isAllThere(world, proxy);
}

/** Lists are false when the operator starts. */
async function startsWithFalseLists(
  world: OperatorWorld,
  proxy: KubeProxy,
  falsify: Falsify,
): Promise<void> {
  await world.operator!.stop();
  const counts = falsifyLists(proxy, falsify);
  await world.startOperator();
  const kinds = ["tunnels", "tunnelbindings", "services"];
  await eventually(
    () =>
      kinds.every((kind) => [...counts].some(([path, n]) => path.endsWith(`/${kind}`) && n >= 2)),
    () => `lists of ${kinds}, again and again; there were ${JSON.stringify([...counts])}`,
    patienceMs,
  );
  proxy.intercept = undefined;
  await isAllThere(world, proxy);
}

/** A change gets through, and nothing has been taken away before it or with it. */
async function isAllThere(world: OperatorWorld, proxy: KubeProxy): Promise<void> {
  await scale(world, 2);
  await scale(world, 1);
  await world.condition(tunnels, "main", "Ready", "Ready");
  for (const hostname of hostnames) {
    await world.condition(tunnelBindings, hostname.split(".")[0]!, "Ready", "Ready");
    assert.notEqual((await world.web(hostname)).status, 421, hostname);
  }
  const deleted = proxy.requests.filter(({ method }) => method === "DELETE");
  assert.deepEqual(deleted.map(({ path }) => path), []);
  assert.doesNotMatch(await world.metrics(), /relay_requests_total\{method="DELETE"/);
  assert.ok(await world.client.get(deployments, { namespace, name: "main-agent" }));
}

function status(code: number, reason: string, headers: Record<string, string> = {}): Response {
  const body = { kind: "Status", apiVersion: "v1", status: "Failure", reason, code };
  return Response.json({ ...body, message: `the proxy says ${reason}` }, { status: code, headers });
}
