import assert from "node:assert/strict";
import { WorkQueue } from "../../lib/kube/work_queue.ts";
import { eventually } from "../support/deadline.ts";

Deno.test("a key that is added many times is worked on once, and once more if it was added meanwhile", async () => {
  const seen: string[] = [];
  const gate = Promise.withResolvers<void>();
  const queue = new WorkQueue({
    async work(key) {
      seen.push(key);
      if (seen.length === 1) await gate.promise;
      return undefined;
    },
    failed: () => true,
    workers: 1,
  });
  for (let count = 0; count < 5; count++) queue.add("a");
  queue.start();
  for (let count = 0; count < 5; count++) queue.add("a");
  queue.add("b");
  gate.resolve();
  await eventually(() => queue.isIdle, "the queue to be idle");
  assert.deepEqual(seen.sort(), ["a", "a", "b"]);
  await queue.stop();
});

Deno.test("what failed is tried again, what can't succeed is not", async () => {
  const tries: Record<string, number> = {};
  const queue = new WorkQueue({
    work(key) {
      tries[key] = (tries[key] ?? 0) + 1;
      if (tries[key] < 3) throw new Error(key);
      return Promise.resolve(undefined);
    },
    failed: (key) => key === "permanent",
    firstBackoffMs: 1,
  });
  queue.start();
  queue.add("permanent");
  queue.add("passing");
  await eventually(() => tries["passing"] === 3, "the third try");
  assert.deepEqual(tries, { permanent: 1, passing: 3 });
  await queue.stop();
});

Deno.test("a group whose work does not end leaves workers to others, which take turns", async () => {
  const gate = Promise.withResolvers<undefined>();
  const seen: string[] = [];
  let slow = 0;
  const queue = new WorkQueue({
    async work(key) {
      if (!key.startsWith("slow/")) return void seen.push(key);
      slow++;
      return await gate.promise;
    },
    failed: () => true,
    groupOf: (key) => key.split("/")[0]!,
    workers: 3,
    workersPerGroup: 2,
  });
  for (let count = 0; count < 10; count++) queue.add(`slow/${count}`);
  for (const key of ["a/1", "a/2", "a/3", "b/1"]) queue.add(key);
  queue.start();
  await eventually(() => seen.length === 4, "the others' work");
  assert.deepEqual(seen, ["a/1", "b/1", "a/2", "a/3"]);
  assert.deepEqual([slow, queue.depth, queue.heldBack], [2, 8, 8]);
  gate.resolve(undefined);
  await eventually(() => queue.isIdle, "the queue to be idle");
  assert.deepEqual([slow, queue.depth, queue.heldBack], [10, 0, 0]);
  await queue.stop();
});
