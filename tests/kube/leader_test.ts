import assert from "node:assert/strict";
import { delay } from "../../lib/kube/delay.ts";
import { Leader } from "../../lib/kube/leader.ts";
import { leases } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { fakeCluster, keptLog } from "./kube_setup.ts";

/** Of a Lease that is to be lost. */
const shortTiming = { leaseMs: 400, renewDeadlineMs: 300, retryMs: 10 };

function candidate(
  client: ConstructorParameters<typeof Leader>[0]["client"],
  identity: string,
  timing = { leaseMs: 60_000, renewDeadlineMs: 50_000, retryMs: 10 },
  takesOver = false,
) {
  const log = keptLog();
  const leader = new Leader({
    ...{ client, namespace: "ops", name: "lock", identity, timing, takesOver, log },
  });
  const stop = new AbortController();
  const terms: AbortSignal[] = [];
  const running = leader.run(stop.signal, async (signal) => {
    terms.push(signal);
    while (!signal.aborted) await delay(5);
  });
  return {
    leader,
    log,
    terms,
    async stop() {
      stop.abort();
      await running;
    },
  };
}

Deno.test("of two replicas one leads, and the other follows when that one gives the Lease back", async () => {
  const { client } = fakeCluster();
  const one = candidate(client, "one");
  await eventually(() => one.terms.length === 1, "the first to lead");
  const two = candidate(client, "two");
  await delay(50);
  assert.equal(two.terms.length, 0);
  await one.stop();
  await eventually(() => two.terms.length === 1, "the second to lead");
  await two.stop();
});

Deno.test("a leader that can't renew stops before another may take the Lease", async () => {
  const { kube, client } = fakeCluster();
  const one = candidate(client, "one", shortTiming);
  await eventually(() => one.terms.length === 1, "the first to lead");
  kube.intercept = () => {
    throw new TypeError("connection refused");
  };
  await eventually(() => one.terms[0]!.aborted, "its term to end");
  assert.equal(one.leader.leads, false);
  kube.intercept = undefined;
  await eventually(() => one.terms.length >= 2, "it to lead again");
  await one.stop();
});

Deno.test("a Lease whose holder is gone is taken once it has not been renewed for its time", async () => {
  const { kube, client } = fakeCluster();
  kube.put(leases, {
    metadata: { name: "lock", namespace: "ops" },
    spec: { holderIdentity: "crashed", leaseDurationSeconds: 1, leaseTransitions: 3 },
  });
  const one = candidate(client, "one", shortTiming);
  await eventually(() => one.terms.length >= 1, "it to lead");
  const { spec } = kube.read(leases, "ops", "lock") as unknown as { spec: Record<string, unknown> };
  assert.equal(spec.holderIdentity, "one");
  assert.equal(spec.leaseTransitions, 4);
  await one.stop();
  const after = kube.read(leases, "ops", "lock") as unknown as { spec: Record<string, unknown> };
  assert.equal(after.spec.holderIdentity, "");
});

Deno.test("who takes the Lease over acts after the one before has stopped, and keeps others away", async () => {
  const { kube, client } = fakeCluster();
  const one = candidate(client, "one");
  await eventually(() => one.terms.length === 1, "the first to lead");
  const timing = { ...shortTiming, leaseMs: 60_000 };
  const drain = candidate(client, "drain", timing, true);
  await eventually(() => drain.terms.length === 1, "the other to lead");
  assert.equal(one.terms[0]!.aborted, true);
  assert.equal(one.leader.leads, false);
  await eventually(
    () => one.log.lines.some((line) => /another holds the Lease.*"holder":"drain"/.test(line)),
    "it to say who holds the Lease",
  );
  drain.leader.reserve(3_600_000);
  await drain.stop();
  const { spec } = kube.read(leases, "ops", "lock") as unknown as { spec: Record<string, unknown> };
  assert.deepEqual([spec.holderIdentity, spec.leaseDurationSeconds], ["drain", 3_600]);
  const impatient = candidate(client, "impatient", shortTiming);
  await delay(2 * shortTiming.leaseMs);
  assert.deepEqual([one.terms.length, impatient.terms.length], [1, 0]);
  await Promise.all([one.stop(), impatient.stop()]);
});

Deno.test("the Lease is taken over once: who takes it from the other keeps it", async () => {
  const { kube, client } = fakeCluster();
  const drain = candidate(client, "drain", undefined, true);
  await eventually(() => drain.terms.length === 1, "the first to lead");
  const other = candidate(client, "other drain", { ...shortTiming, leaseMs: 60_000 }, true);
  await eventually(() => other.terms.length === 1, "the other to lead");
  assert.equal(drain.terms[0]!.aborted, true);
  await delay(100);
  const { spec } = kube.read(leases, "ops", "lock") as unknown as { spec: Record<string, unknown> };
  assert.equal(spec.holderIdentity, "other drain");
  await Promise.all([drain.stop(), other.stop()]);
});
