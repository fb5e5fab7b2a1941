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
