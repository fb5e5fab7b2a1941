/** The operator ends between any two writes, wherever they go; the next one finishes what it began. */
import assert from "node:assert/strict";
import { tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, digest, route, type RunningOperator, type Wrap } from "./harness.ts";

/** Lets so many writes through, to the API server and the relay; then nothing passes any more. */
function mortal(
  writes: number,
): Wrap & { readonly died: Promise<void>; readonly seen: () => number } {
  const { promise, resolve } = Promise.withResolvers<void>();
  let count = 0;
  const pass = (method: string): void => {
    if (count > writes) throw new TypeError("the process has ended");
    if (method === "GET") return;
    if (++count <= writes) return;
    resolve();
    throw new TypeError("the process has ended");
  };
  return {
    died: promise,
    seen: () => count,
    kube: (fetch) => async (path, init) => {
      pass(init.method);
      return await fetch(path, init);
    },
    relay: (fetch) => async (url, init, ca) => {
      pass(init.method);
      return await fetch(url, init, ca);
    },
  };
}

/** What a user does, and how it is known that all is done. */
interface Story {
  readonly name: string;
  readonly before: (cluster: Cluster) => void;
  readonly act: (cluster: Cluster) => void;
  readonly isDone: (cluster: Cluster) => boolean;
}

function isReady(cluster: Cluster): boolean {
  const conditions = [
    cluster.kube.read(tunnels, "apps", "home"),
    cluster.kube.read(tunnelBindings, "apps", "shop"),
  ].map((object) =>
    ((object?.["status"] ?? {}) as { conditions?: { type: string; status: string }[] })
      .conditions?.find(({ type }) => type === "Ready")?.status
  );
  return conditions.every((status) => status === "True");
}

const routes = [route("main", "shop.example.com"), route("api", "api.example.com")];

const stories: readonly Story[] = [
  {
    name: "a Tunnel and its binding are made",
    before() {},
    act(cluster) {
      cluster.putTunnel();
      cluster.putBinding("shop", routes);
    },
    isDone: isReady,
  },
  {
    name: "a route is replaced by another",
    before(cluster) {
      cluster.putTunnel();
      cluster.putBinding("shop", routes);
    },
    act: (cluster) => cluster.putBinding("shop", [routes[0], route("new", "new.example.com")]),
    isDone: (cluster) =>
      isReady(cluster) && cluster.relay.services.size === 2 &&
      [...cluster.relay.services.keys()].some((name) => name.startsWith("apps-shop-new-")),
  },
  {
    name: "the token's Secret is deleted",
    before(cluster) {
      cluster.putTunnel();
      cluster.putBinding("shop", routes);
    },
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
  },
  {
    name: "Tunnel and binding are deleted",
    before(cluster) {
      cluster.putTunnel();
      cluster.putBinding("shop", routes);
    },
    act(cluster) {
      cluster.kube.remove(tunnelBindings, "apps", "shop");
      cluster.kube.remove(tunnels, "apps", "home");
    },
    isDone: ({ kube }) => kube.all(tunnels).length + kube.all(tunnelBindings).length === 0,
  },
];

async function settled({ operator }: RunningOperator, cluster: Cluster, story: Story) {
  await eventually(() => story.isDone(cluster), () => `${story.name}`, 60_000);
  await eventually(() => operator.isSettled, "the operator to settle", 60_000);
}

/** The state in the end, without tokens and what is derived from them. */
function stateOf(cluster: Cluster): unknown {
  const text = JSON.stringify([
    cluster.kube.state(),
    [...cluster.relay.clusters].sort(),
    [...cluster.relay.services].sort(),
  ], (key, value) => key === "annotations" || key === "data" ? Object.keys(value ?? {}) : value);
  // Events tell of what happened on the way.
  const [objects, ...rest] = JSON.parse(
    text.replaceAll(/t-[0-9a-f]{8}\b/g, "TOKEN").replaceAll(/\b[0-9a-f]{64}\b/g, "DIGEST"),
  ) as [[string, unknown][], ...unknown[]];
  return [objects.filter(([key]) => !/^(events|pods) /.test(key)), ...rest];
}

async function prepared(story: Story): Promise<Cluster> {
  const cluster = new Cluster();
  story.before(cluster);
  if (cluster.kube.all(tunnels).length > 0) {
    await using running = cluster.start();
    await eventually(() => isReady(cluster), "all to be ready", 60_000);
    await eventually(() => running.operator.isSettled, "the operator to settle", 60_000);
  }
  return cluster;
}

for (const story of stories) {
  Deno.test(`the operator is killed after any write while ${story.name}: the end is the same`, async () => {
    const calm = await prepared(story);
    const all = mortal(Infinity);
    {
      await using running = calm.start(all);
      story.act(calm);
      await settled(running, calm, story);
    }
    const expected = stateOf(calm);
    const writes = all.seen();
    assert.ok(writes >= 4, `${writes} writes`);
    for (let count = 0; count < writes; count++) {
      const cluster = await prepared(story);
      story.act(cluster);
      const fate = mortal(count);
      {
        await using _ = cluster.start(fate);
        await Promise.race([
          fate.died,
          eventually(() => story.isDone(cluster), "the end before it", 60_000),
        ]);
      }
      await using running = cluster.start();
      await settled(running, cluster, story);
      assert.deepEqual(stateOf(cluster), expected, `killed after write ${count} of ${writes}`);
    }
  });
}

Deno.test("two operators that both act at once come to the same end", async () => {
  const story = stories[0]!;
  const calm = await prepared(story);
  {
    await using running = calm.start();
    story.act(calm);
    await settled(running, calm, story);
  }
  const cluster = await prepared(story);
  await using one = cluster.start();
  await using two = cluster.start();
  story.act(cluster);
  await settled(one, cluster, story);
  await settled(two, cluster, story);
  assert.deepEqual(stateOf(cluster), stateOf(calm));
});
