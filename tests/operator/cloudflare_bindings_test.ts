/** Bindings whose records are at Cloudflare: when they are looked at, and what changes meanwhile. */
import assert from "node:assert/strict";
import { events } from "../../lib/kube/resources.ts";
import { tunnelBindings } from "../../lib/operator/api/crds.ts";
import type { CloudflareFetch } from "../../lib/operator/dns/cloudflare_api.ts";
import { eventually } from "../support/deadline.ts";
import type { FakeCloudflare } from "../support/fake_cloudflare.ts";
import { Cluster, conditionsOf, route, type Wrap } from "./harness.ts";

/** Less than the time after which a change that is under way is looked at without any report. */
const reportMs = 30_000;

function putDns(cluster: Cluster, target = "relay.example.net"): void {
  const dns = { provider: "Cloudflare", target, zone: "example.com" };
  cluster.putTunnel({ dns: { ...dns, secretRef: { name: "cloudflare" } } });
}

/** Lets batches wait for their answers. */
class HeldBatches {
  #gate = Promise.withResolvers<void>();
  /** Batches that have been held. */
  count = 0;

  readonly wrap = (fetch: CloudflareFetch): CloudflareFetch => async (url, init) => {
    if (init.method === "POST") {
      this.count++;
      await this.#gate.promise;
    }
    return await fetch(url, init);
  };

  release(): void {
    this.#gate.resolve();
  }

  hold(): void {
    this.#gate = Promise.withResolvers();
  }
}

/** Counts looks at bindings. */
function counted(): { looks: number; readonly metrics: NonNullable<Wrap["metrics"]> } {
  const counter = {
    looks: 0,
    metrics: {
      requested() {},
      listed() {},
      watchEnded() {},
      reconciled(kind: string) {
        if (kind === "binding") counter.looks++;
      },
    },
  };
  return counter;
}

/** How often bindings are looked at while nothing happens: checks of Secrets would come 15 times. */
async function looksInPeace(counter: { readonly looks: number }): Promise<number> {
  const before = counter.looks;
  await new Promise((resolve) => setTimeout(resolve, 300));
  return counter.looks - before;
}

async function isGone(cluster: Cluster, name: string): Promise<void> {
  await eventually(
    () => cluster.kube.read(tunnelBindings, "apps", name) === undefined,
    () => `${name} to go: ${JSON.stringify(cluster.kube.read(tunnelBindings, "apps", name))}`,
    reportMs,
  );
}

async function isReady(cluster: Cluster, name: string): Promise<void> {
  const ready = () =>
    conditionsOf(cluster.kube.read(tunnelBindings, "apps", name))
      .find(({ type }) => type === "Ready");
  await eventually(
    () => ready()?.status === "True",
    () => `${name} to be ready: ${JSON.stringify(ready())}`,
    reportMs,
  );
}

function targets(api: FakeCloudflare): readonly string[] {
  return [...api.records.values()].filter(({ type }) => type !== "TXT")
    .map(({ name, content }) => `${name} ${content}`);
}

Deno.test("a binding that waits for Cloudflare is looked at when the answer is there, and not before", async (t) => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  putDns(cluster);
  const [batches, counter] = [new HeldBatches(), counted()];
  await using running = cluster.start({ cloudflare: batches.wrap, metrics: counter.metrics });
  await cluster.ready();
  const isWaiting = async (count: number) => {
    await eventually(() => batches.count === count, "the batch");
    await eventually(() => running.operator.isSettled, "all else to be done");
    assert.equal(await looksInPeace(counter), 0);
  };
  await t.step("for a new record", async () => {
    cluster.putBinding("shop", [route("main", "shop.example.com")]);
    await isWaiting(1);
    await cluster.condition(tunnelBindings, "shop", "DNSReady", "Pending");
    assert.equal(running.operator.counts.cloudflareRecords, 1);
    batches.release();
    await isReady(cluster, "shop");
    assert.equal(running.operator.counts.cloudflareRecords, 0);
  });
  await t.step("for a record that goes", async () => {
    batches.hold();
    cluster.kube.remove(tunnelBindings, "apps", "shop");
    await isWaiting(2);
    batches.release();
    await isGone(cluster, "shop");
    assert.equal(api.records.size, 0);
  });
});

Deno.test("what changes while Cloudflare is asked is done afterwards", async (t) => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  putDns(cluster);
  const batches = new HeldBatches();
  await using _ = cluster.start({ cloudflare: batches.wrap });
  await cluster.ready();
  const held = async (name: string, count: number) => {
    cluster.putBinding(name, [route("main", `${name}.example.com`)]);
    await eventually(() => batches.count === count, "the batch");
  };
  await t.step("another target", async () => {
    await held("shop", 1);
    putDns(cluster, "relay2.example.net");
    await eventually(
      () => JSON.stringify(cluster.kube.read(tunnelBindings, "apps", "shop")).includes("relay2"),
      "the new target in the status",
    );
    assert.deepEqual(targets(api), []);
    batches.release();
    await eventually(() => targets(api).includes("shop.example.com relay2.example.net"), "it");
    await isReady(cluster, "shop");
    assert.equal(batches.count, 2);
  });
  await t.step("the binding goes", async () => {
    batches.hold();
    await held("late", 3);
    cluster.kube.remove(tunnelBindings, "apps", "late");
    await eventually(
      () =>
        cluster.kube.read(tunnelBindings, "apps", "late")?.metadata.deletionTimestamp !== undefined,
      "the deletion",
    );
    batches.release();
    await isGone(cluster, "late");
    assert.deepEqual(targets(api), ["shop.example.com relay2.example.net"]);
  });
  await t.step("its hostname comes back", async () => {
    batches.hold();
    cluster.putBinding("shop", [route("main", "other.example.com")]);
    await eventually(() => batches.count === 5, "the batch");
    cluster.putBinding("shop", [route("main", "shop.example.com")]);
    batches.release();
    await eventually(
      () => targets(api).join() === "shop.example.com relay2.example.net",
      () => targets(api).join(),
      reportMs,
    );
    await isReady(cluster, "shop");
    assert.equal(api.records.size, 2);
  });
});

Deno.test("a name that another binding waits for goes to it as soon as the record is removed", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  putDns(cluster);
  const dns = { provider: "Cloudflare", target: "relay2.example.net", zone: "example.com" };
  cluster.putTunnel({ dns: { ...dns, secretRef: { name: "cloudflare" } } }, "second");
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.putBinding("heir", [route("main", "shop.example.com")], { name: "second" });
  await cluster.condition(tunnelBindings, "heir", "DNSReady", "Refused");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await isGone(cluster, "shop");
  await eventually(
    () => targets(api).join() === "shop.example.com relay2.example.net",
    () => targets(api).join(),
    reportMs,
  );
});

Deno.test("while Cloudflare is left alone, bindings that wait for it take no work", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  putDns(cluster);
  const names = ["one", "two", "three"];
  for (const name of names) cluster.putBinding(name, [route("main", `${name}.example.com`)]);
  const counter = counted();
  await using running = cluster.start({ metrics: counter.metrics });
  for (const name of names) await cluster.ready(tunnelBindings, name);
  api.intercept = () => new Response("{}", { status: 429 });
  const asked = api.calls.length;
  for (const name of names) cluster.kube.remove(tunnelBindings, "apps", name);
  cluster.putBinding("four", [route("main", "four.example.com")]);
  await cluster.condition(tunnelBindings, "four", "DNSReady", "Unreachable");
  await eventually(() => api.calls.length > asked, "a call");
  await eventually(() => running.operator.isSettled, "all else to be done");
  const calls = api.calls.length;
  assert.equal(await looksInPeace(counter), 0);
  assert.equal(api.calls.length, calls);
});

Deno.test("a record is removed although the time for it was over before it was tried", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  putDns(cluster);
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start({ settings: { orphanMs: 0 } });
  await cluster.ready(tunnelBindings, "shop");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await isGone(cluster, "shop");
  assert.equal(api.records.size, 0);
  assert.deepEqual(cluster.kube.all(events).filter(({ reason }) => reason === "Orphaned"), []);
});

Deno.test("a record that can't be removed in time is named with the reason", async () => {
  const cluster = new Cluster();
  const api = cluster.useCloudflare();
  putDns(cluster);
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start({ settings: { orphanMs: 0 } });
  await cluster.ready(tunnelBindings, "shop");
  api.intercept = () => new Response("{}", { status: 500 });
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await isGone(cluster, "shop");
  const orphans = () => cluster.kube.all(events).filter(({ reason }) => reason === "Orphaned");
  await eventually(() => orphans().length > 0, "the Event");
  assert.match(
    String(orphans()[0]!["note"]),
    /^shop.example.com was left: Cloudflare answered status 500/,
  );
});
