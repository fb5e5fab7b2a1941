/** What is remembered of single records, and who hears of it. */
import assert from "node:assert/strict";
import type { Context } from "../../lib/operator/context.ts";
import type { DnsCredentials } from "../../lib/operator/dns/dns_credentials.ts";
import type { KeptRecord } from "../../lib/operator/dns/kept_records.ts";
import { RecordChanges } from "../../lib/operator/dns/record_changes.ts";
import type { DnsOutcome } from "../../lib/operator/dns/rfc2136.ts";

/** A record at Cloudflare. */
function recordOf(owner: string, more: Partial<KeptRecord> = {}): KeptRecord {
  return {
    ...{ name: "shop.example.com", type: "CNAME", target: "relay.example.net", ttl: 300 },
    ...{ zone: "example.com", server: "", secret: "apps/cloudflare", owner },
    ...more,
  };
}

/** Changes whose outcomes the test gives, one after the other. */
function changesOf() {
  const asked: { what: string; settle: (outcome: DnsOutcome) => void }[] = [];
  const heard: string[] = [];
  const ask = (kind: string) => (_: unknown, { target }: KeptRecord, owner: string) => {
    const { promise, resolve } = Promise.withResolvers<DnsOutcome>();
    asked.push({ what: `${kind} ${owner} ${target}`, settle: resolve });
    return promise;
  };
  const context = {
    cloudflare: { put: ask("put"), remove: ask("remove") },
    digest: (text: string) => text,
    settings: { resyncMs: 3_600_000, checkMs: 10_000 },
  } as unknown as Context;
  const credentials: Pick<DnsCredentials, "token"> = {
    token: () => Promise.resolve({ token: "token" }),
  };
  const changes = new RecordChanges(context, credentials as DnsCredentials, {
    settled: (keys) => heard.push(`settled ${[...keys]}`),
    freed: (name) => heard.push(`freed ${name}`),
  });
  const settle = async (outcome: DnsOutcome) => {
    asked.at(-1)!.settle(outcome);
    await new Promise((resolve) => setTimeout(resolve));
    return heard.splice(0);
  };
  return { changes, asked, settle };
}

const done: DnsOutcome = { kind: "done" };

Deno.test("an outcome is known until it is to be renewed, and its binding hears of it", async () => {
  const { changes, asked, settle } = changesOf();
  const put = () => changes.put(recordOf("one"), "apps/one");
  assert.equal((await put()).outcome.kind, "pending");
  assert.equal((await put()).outcome.kind, "pending");
  assert.deepEqual(await settle(done), ["settled apps/one"]);
  assert.equal((await put()).outcome, done);
  assert.equal(asked.length, 1);
  changes.forgetMade([recordOf("one")]);
  assert.equal((await put()).outcome.kind, "pending");
  assert.equal(asked.length, 2);
});

Deno.test("a change waits for the one before it, and does not take its outcome for its own", async () => {
  const { changes, asked, settle } = changesOf();
  const moved = recordOf("one", { target: "relay2.example.net" });
  await changes.put(recordOf("one"), "apps/one");
  assert.equal((await changes.put(moved, "apps/one")).outcome.kind, "pending");
  assert.equal((await changes.remove(moved, "apps/one")).outcome.kind, "pending");
  assert.deepEqual(asked.map(({ what }) => what), ["put one relay.example.net"]);
  assert.deepEqual(await settle(done), ["settled apps/one"]);
  assert.equal((await changes.remove(moved, "apps/one")).outcome.kind, "pending");
  assert.deepEqual(asked.at(-1)!.what, "remove one relay2.example.net");
  assert.equal((await changes.put(moved, "apps/one")).outcome.kind, "pending");
  await settle(done);
  assert.equal((await changes.put(moved, "apps/one")).outcome.kind, "pending");
  assert.deepEqual(asked.at(-1)!.what, "put one relay2.example.net");
  await settle(done);
  assert.equal((await changes.put(moved, "apps/one")).outcome, done);
});

Deno.test("a name that was taken is asked about again when its record is removed", async () => {
  const { changes, asked, settle } = changesOf();
  const put = () => changes.put(recordOf("heir"), "apps/heir");
  await put();
  await settle({ kind: "taken" });
  assert.equal((await put()).outcome.kind, "taken");
  await changes.remove(recordOf("one"), "apps/one");
  assert.deepEqual(await settle(done), ["freed shop.example.com", "settled apps/one"]);
  assert.equal((await put()).outcome.kind, "pending");
  assert.equal(asked.at(-1)!.what, "put heir relay.example.net");
});

Deno.test("a removal is not repeated until it is forgotten, and one that failed is tried again later", async () => {
  const { changes, asked, settle } = changesOf();
  const remove = () => changes.remove(recordOf("one"), "apps/one");
  await remove();
  await settle({ kind: "unreachable", reason: "no answer", retryAfterMs: 300_000 });
  const { outcome, untilMs } = await remove();
  assert.equal(outcome.kind, "unreachable");
  const waitMs = untilMs - performance.now();
  assert.ok(waitMs > 10_000 && waitMs <= 60_000, `again in ${waitMs} ms`);
  assert.equal(asked.length, 1);
  changes.forgetRemoved([recordOf("one")]);
  await remove();
  await settle(done);
  assert.equal((await remove()).outcome, done);
  assert.equal(asked.length, 2);
  const kept = await changes.remove(recordOf("two", { keep: true }), "apps/two");
  assert.equal(kept.outcome.kind, "done");
  assert.equal(asked.length, 2);
});
