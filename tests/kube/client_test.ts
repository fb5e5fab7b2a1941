import assert from "node:assert/strict";
import { KubeError, KubeUnreachable } from "../../lib/kube/errors.ts";
import { configMaps } from "../../lib/kube/resources.ts";
import { failure } from "../support/fake_kube.ts";
import { configMap, fakeCluster } from "./kube_setup.ts";

Deno.test("an apply that changes nothing leaves the object's version alone", async () => {
  const { client } = fakeCluster();
  const one = await client.apply(configMaps, configMap("a", { key: "1" }));
  const two = await client.apply(configMaps, configMap("a", { key: "1" }));
  assert.equal(one.metadata.resourceVersion, two.metadata.resourceVersion);
});

Deno.test("429 and its Retry-After hold back every request of the client", async () => {
  const { kube, client } = fakeCluster();
  kube.put(configMaps, configMap("a"));
  let refusedMs = 0;
  kube.intercept = () => {
    kube.intercept = undefined;
    refusedMs = performance.now();
    return failure(429, "TooManyRequests", "later", { "retry-after": "1" });
  };
  await client.get(configMaps, { namespace: "apps", name: "a" });
  // A timer may fire a little early.
  assert.ok(performance.now() - refusedMs > 950);
  assert.equal(kube.requests.length, 2);
});

Deno.test("a client that is told to wait again and again gives the error back", async () => {
  const { kube, client } = fakeCluster();
  kube.intercept = () => failure(429, "TooManyRequests", "later", { "retry-after": "0" });
  const error = await client.get(configMaps, { namespace: "apps", name: "a" }).catch((e) => e);
  assert.ok(error instanceof KubeError);
  assert.equal(error.status, 429);
  assert.equal(kube.requests.length, 4);
});

Deno.test("a server that never answers ends a request in time", async () => {
  const { kube, client } = fakeCluster(undefined, { timeoutMs: 20 });
  kube.intercept = (_request, { signal }) =>
    new Promise((_resolve, reject) =>
      signal.addEventListener("abort", () => reject(signal.reason))
    );
  await assert.rejects(
    client.get(configMaps, { namespace: "apps", name: "a" }),
    (error) => error instanceof KubeUnreachable && /did not answer in time/.test(error.message),
  );
});

Deno.test("deleting what is gone, or what has been made anew, is no error and deletes nothing", async () => {
  const { kube, client } = fakeCluster();
  const at = { namespace: "apps", name: "a" };
  await client.delete(configMaps, at, "uid-of-none");
  kube.put(configMaps, configMap("a"));
  await client.delete(configMaps, at, "uid-of-another");
  assert.ok(kube.read(configMaps, "apps", "a"));
});

Deno.test("a client that may not write sends no write", async () => {
  const { kube, client } = fakeCluster(undefined, {
    mayWrite: () => {
      throw new Error("does not lead");
    },
  });
  await assert.rejects(client.apply(configMaps, configMap("a")), /does not lead/);
  assert.equal(kube.requests.length, 0);
  assert.equal((await client.list(configMaps)).items.length, 0);
});
