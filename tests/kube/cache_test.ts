import assert from "node:assert/strict";
import { configMaps } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { failure, type FakeKube } from "../support/fake_kube.ts";
import {
  configMap,
  countedMetrics,
  fakeCluster,
  keptLog,
  quickTiming,
  runningCache,
} from "./kube_setup.ts";

Deno.test("a cache lists page by page, then follows what changes", async () => {
  const { kube, client } = fakeCluster(undefined, { pageSize: 2 });
  for (const name of ["a", "b", "c", "d", "e"]) kube.put(configMaps, configMap(name));
  await using running = runningCache(client);
  const { cache, told } = running;
  await cache.synced;
  assert.equal(cache.size, 5);
  assert.equal(kube.requests.filter(({ query }) => query.has("limit")).length, 3);
  await eventually(() => kube.openWatches === 1, "a watch");
  told.length = 0;
  kube.put(configMaps, configMap("f"));
  kube.put(configMaps, configMap("a", { key: "value" }));
  kube.remove(configMaps, "apps", "b");
  await eventually(() => told.length === 3, "three changes");
  assert.deepEqual(told, ["new apps/f", "changed apps/a", "gone apps/b"]);
});

Deno.test("a watch that ended is resumed from the last bookmark, without a list", async () => {
  const { kube, client } = fakeCluster();
  const metrics = countedMetrics();
  kube.put(configMaps, configMap("a"));
  await using running = runningCache(client, { metrics });
  await eventually(() => kube.openWatches === 1, "a watch");
  kube.put(configMaps, configMap("b"));
  kube.bookmark();
  await eventually(() => running.told.length === 2, "both objects");
  kube.endWatches();
  kube.put(configMaps, configMap("c"));
  await eventually(() => running.told.length === 3, "the change made in between");
  assert.equal(kube.requests.filter(({ query }) => query.has("limit")).length, 1);
  assert.deepEqual(metrics.ends, ["closed"]);
});

Deno.test("a resource version that is too old is followed by exactly one list", async () => {
  const { kube, client } = fakeCluster();
  const metrics = countedMetrics();
  kube.put(configMaps, configMap("a"));
  kube.put(configMaps, configMap("b"));
  await using running = runningCache(client, { metrics });
  await eventually(() => kube.openWatches === 1, "a watch");
  kube.intercept = (request) => {
    if (request.query.get("watch") !== "true") return undefined;
    kube.intercept = undefined;
    return failure(410, "Expired", "too old resource version");
  };
  kube.endWatches();
  kube.remove(configMaps, "apps", "a");
  kube.put(configMaps, configMap("c"));
  kube.compact();
  await eventually(() => running.cache.get("apps/c") !== undefined, "the new object");
  await eventually(() => running.cache.get("apps/a") === undefined, "the old one to go");
  assert.ok(metrics.ends.includes("expired"));
  assert.equal(kube.requests.filter(({ query }) => query.has("limit")).length, 2);
});

Deno.test("a watch without a byte is given up, though the server never ends it", async () => {
  const { kube, client } = fakeCluster();
  const metrics = countedMetrics();
  await using running = runningCache(client, {
    metrics,
    timing: { ...quickTiming, silenceMs: 30 },
  });
  await eventually(() => metrics.ends.filter((why) => why === "silent").length >= 2, "two ends");
  kube.put(configMaps, configMap("late"));
  await eventually(() => running.cache.get("apps/late") !== undefined, "the change to be seen");
  assert.equal(kube.requests.filter(({ query }) => query.has("limit")).length, 1);
});

Deno.test("a list that fails, or is no list, takes nothing away", async (t) => {
  const answers: Record<string, () => Response> = {
    "status 500": () => failure(500, "InternalError", "etcd is away"),
    "an empty body": () => new Response(""),
    "a page of a proxy": () => new Response("<html>Sign in</html>"),
    "an empty object": () => Response.json({}),
    "a list of another kind": () =>
      Response.json({ kind: "SecretList", metadata: { resourceVersion: "9" }, items: [] }),
    "a list without a version": () =>
      Response.json({ kind: "ConfigMapList", metadata: {}, items: [] }),
  };
  for (const [name, answer] of Object.entries(answers)) {
    await t.step(name, async () => {
      const { kube, client } = fakeCluster();
      kube.put(configMaps, configMap("a"));
      await using running = runningCache(client);
      await eventually(() => kube.openWatches === 1, "a watch");
      let lists = 0;
      kube.intercept = (request) => {
        if (request.query.get("watch") === "true") return failure(410, "Expired", "too old");
        if (!request.query.has("limit")) return undefined;
        lists++;
        return answer();
      };
      kube.endWatches();
      await eventually(() => lists >= 3, "three lists");
      assert.deepEqual(running.told, ["new apps/a"]);
      kube.intercept = undefined;
    });
  }
});

Deno.test("an object that a list leaves out is gone only if a look at it alone says so", async () => {
  const { kube, client } = fakeCluster();
  for (const name of ["a", "b"]) kube.put(configMaps, configMap(name));
  await using running = runningCache(client);
  await eventually(() => kube.openWatches === 1, "a watch");
  kube.intercept = (request) => {
    if (request.query.get("watch") === "true") return failure(410, "Expired", "too old");
    if (!request.query.has("limit")) return undefined;
    kube.intercept = undefined;
    return Response.json({ kind: "ConfigMapList", metadata: { resourceVersion: "99" }, items: [] });
  };
  kube.endWatches();
  kube.remove(configMaps, "apps", "b");
  await eventually(() => running.told.includes("gone apps/b"), "the one that is gone");
  assert.ok(running.cache.get("apps/a"));
});

Deno.test("a first list that is empty counts only if there is nothing to watch", async () => {
  const { kube, client } = fakeCluster();
  kube.put(configMaps, configMap("a"));
  let lists = 0;
  kube.intercept = (request) => {
    if (!request.query.has("limit")) return undefined;
    lists++;
    return Response.json({ kind: "ConfigMapList", metadata: { resourceVersion: "9" }, items: [] });
  };
  await using running = runningCache(client);
  await eventually(() => lists >= 3, "three lists");
  assert.equal(running.cache.isSynced, false);
  kube.intercept = undefined;
  await running.cache.synced;
  assert.ok(running.cache.get("apps/a"));
});

/** Has the first list leave out objects, in the version before them or a later one. */
function leaveOut(kube: FakeKube, names: readonly string[], resourceVersion: string): void {
  kube.intercept = ({ query }) => {
    if (!query.has("limit")) return undefined;
    const items = kube.all(configMaps).filter(({ metadata }) => !names.includes(metadata.name));
    return Response.json({ kind: "ConfigMapList", metadata: { resourceVersion }, items });
  };
}

Deno.test("what a first list leaves out is there once a watch and a look at it alone show it", async () => {
  const { kube, client } = fakeCluster();
  for (const name of ["a", "b", "c"]) kube.put(configMaps, configMap(name));
  leaveOut(kube, ["b"], "99");
  await using running = runningCache(client);
  await running.cache.synced;
  assert.deepEqual([...running.cache.values()].map(({ metadata }) => metadata.name).sort(), [
    ...["a", "b", "c"],
  ]);
  assert.equal(kube.requests.filter(({ query }) => query.has("limit")).length, 1);
  assert.equal(kube.requests.filter(({ path }) => path.endsWith("/configmaps/b")).length, 1);
});

Deno.test("what the watch after a first list shows in a newer state needs no look at it", async () => {
  const { kube, client } = fakeCluster();
  for (const name of ["a", "b"]) kube.put(configMaps, configMap(name));
  leaveOut(kube, ["b"], kube.read(configMaps, "apps", "a")!.metadata.resourceVersion!);
  await using running = runningCache(client);
  await running.cache.synced;
  assert.ok(running.cache.get("apps/b"));
  assert.equal(kube.requests.filter(({ path }) => path.endsWith("/configmaps/b")).length, 0);
});

Deno.test("what the watch after a first list shows, and is gone, is not there", async () => {
  const { kube, client } = fakeCluster();
  for (const name of ["a", "gone"]) kube.put(configMaps, configMap(name));
  const old = kube.read(configMaps, "apps", "gone")!;
  kube.remove(configMaps, "apps", "gone");
  kube.intercept = ({ query }) => {
    if (query.get("resourceVersion") !== "0") return undefined;
    const objects = [...kube.all(configMaps), old];
    return new Response(
      objects.map((object) => `${JSON.stringify({ type: "ADDED", object })}\n`).join(""),
    );
  };
  await using running = runningCache(client);
  await running.cache.synced;
  assert.deepEqual([...running.cache.values()].map(({ metadata }) => metadata.name), ["a"]);
});

Deno.test("a first list that the watch can't confirm counts, and the log says so", async () => {
  const { kube, client } = fakeCluster();
  for (const name of ["a", "b"]) kube.put(configMaps, configMap(name));
  kube.intercept = ({ query }) =>
    query.get("resourceVersion") === "0" ? new Response("") : undefined;
  const log = keptLog();
  await using running = runningCache(client, { log });
  await running.cache.synced;
  assert.equal(running.cache.size, 2);
  assert.deepEqual(log.lines, [
    "warn: Can't confirm that the first list of objects is complete; continuing with it " +
    '{"resource":"configmaps","listed":2,"notSeenByWatch":2}',
  ]);
});

Deno.test("a first list does not count while the watch after it fails", async () => {
  const { kube, client } = fakeCluster();
  for (const name of ["a", "b"]) kube.put(configMaps, configMap(name));
  let watches = 0;
  kube.intercept = ({ query }) => {
    if (query.get("resourceVersion") !== "0") return undefined;
    watches++;
    return failure(500, "InternalError", "etcd is away");
  };
  await using running = runningCache(client);
  await eventually(() => watches >= 3, "three watches");
  assert.equal(running.cache.isSynced, false);
  kube.intercept = undefined;
  await running.cache.synced;
  assert.equal(running.cache.size, 2);
});

Deno.test("the log says what to do about a kind that must be there and is not", async () => {
  const { kube, client } = fakeCluster();
  kube.intercept = () => failure(404, "NotFound", "the server could not find it");
  const log = keptLog();
  await using running = runningCache(client, { log, hint: "install it" });
  await eventually(() => kube.requests.length > 3, "further tries");
  assert.deepEqual(log.lines.filter((line) => line.includes("no such kind; install it")).length, 1);
  assert.equal(running.cache.isSynced, false);
  kube.intercept = undefined;
  await running.cache.synced;
});

Deno.test("a kind that the cluster lacks has no objects, and is found when it appears", async () => {
  const { kube, client } = fakeCluster();
  kube.intercept = () => failure(404, "NotFound", "no such kind");
  await using running = runningCache(client, { isOptional: true });
  await running.cache.synced;
  assert.equal(running.cache.isMissing, true);
  kube.intercept = undefined;
  kube.put(configMaps, configMap("a"));
  await eventually(() => running.cache.get("apps/a") !== undefined, "the object");
  assert.equal(running.cache.isMissing, false);
});

Deno.test("a cache keeps nothing of who owns which field", async () => {
  const { kube, client } = fakeCluster();
  const object = configMap("a");
  kube.put(configMaps, {
    ...object,
    metadata: { ...object.metadata, managedFields: [{ manager: "x" }] } as typeof object.metadata,
  });
  await using running = runningCache(client);
  await running.cache.synced;
  assert.equal("managedFields" in running.cache.get("apps/a")!.metadata, false);
});
