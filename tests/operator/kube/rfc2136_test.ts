/** Dynamic updates of a zone at a real bind9. */
import assert from "node:assert/strict";
import { Rfc2136, type Zone } from "../../../lib/operator/dns/rfc2136.ts";
import { type DnsRecord, ownerText } from "../../../lib/operator/dns/records.ts";
import { dnsExchange } from "../../../lib/runtime/deno/dns_exchange.ts";
import { Bind, hasBind, zone } from "./bind.ts";

const dns = new Rfc2136({ exchange: dnsExchange });
const ours = ownerText("one", "tunnelbinding/apps/shop");
const theirs = ownerText("two", "tunnelbinding/apps/shop");

function record(name: string, target = "relay.example.com"): DnsRecord {
  return { name: `${name}.${zone}`, type: "CNAME", target, ttl: 60 };
}

function bindTest(name: string, test: (bind: Bind, at: Zone) => Promise<void>): void {
  Deno.test({
    name,
    ignore: !hasBind,
    async fn() {
      await using bind = await Bind.start();
      await test(bind, { name: zone, server: bind.server, key: bind.key });
    },
  });
}

bindTest(
  "a free name gets a record and its owner in one update, and loses both in one",
  async (bind, at) => {
    assert.deepEqual(await dns.put(at, record("web"), ours), { kind: "done" });
    assert.equal(await bind.dig(`web.${zone}`, "CNAME"), "relay.example.com.");
    assert.equal(await bind.dig(`_culvert.web.${zone}`, "TXT"), `"${ours}"`);
    assert.deepEqual(await dns.put(at, record("web", "other.example.com"), ours), { kind: "done" });
    assert.equal(await bind.dig(`web.${zone}`, "CNAME"), "other.example.com.");
    const changed = record("web", "other.example.com");
    assert.deepEqual(await dns.remove(at, changed, ours), { kind: "done" });
    assert.equal(await bind.dig(`web.${zone}`, "CNAME"), "");
    assert.equal(await bind.dig(`_culvert.web.${zone}`, "TXT"), "");
    assert.deepEqual(await dns.remove(at, changed, ours), { kind: "done" }, "a second time");
  },
);

bindTest("a wildcard, addresses of both families and a long owner", async (bind, at) => {
  const long = ownerText("x".repeat(200), `tunnelbinding/${"n".repeat(63)}/${"b".repeat(200)}`);
  const all: DnsRecord[] = [
    record("*"),
    { ...record("four"), type: "A", target: "192.0.2.7" },
    { ...record("six"), type: "AAAA", target: "2001:db8::7" },
  ];
  for (const it of all) assert.deepEqual(await dns.put(at, it, long), { kind: "done" }, it.name);
  assert.equal(await bind.dig(`anything.${zone}`, "CNAME"), "relay.example.com.");
  assert.equal(await bind.dig(`four.${zone}`, "A"), "192.0.2.7");
  assert.equal(await bind.dig(`six.${zone}`, "AAAA"), "2001:db8::7");
  for (const it of all) assert.deepEqual(await dns.remove(at, it, long), { kind: "done" }, it.name);
  assert.equal(await bind.dig(`anything.${zone}`, "CNAME"), "");
});

bindTest("a stranger's record is untouched, whether it has an owner or not", async (bind, at) => {
  assert.deepEqual(await dns.put(at, record("taken"), ours), { kind: "taken" });
  assert.equal(await bind.dig(`taken.${zone}`, "A"), "192.0.2.1");
  assert.deepEqual(await dns.put(at, record("web"), theirs), { kind: "done" });
  assert.deepEqual(await dns.put(at, record("web", "evil.example.com"), ours), { kind: "taken" });
  assert.deepEqual(await dns.remove(at, record("web"), ours), { kind: "done" });
  assert.equal(await bind.dig(`web.${zone}`, "CNAME"), "relay.example.com.");
});

bindTest(
  "a record that was changed by hand stays, and only our claim to it goes",
  async (bind, at) => {
    await dns.put(at, record("web"), ours);
    await dns.put(at, record("web", "by-hand.example.com"), ours);
    assert.deepEqual(await dns.remove(at, record("web"), ours), { kind: "done" });
    assert.equal(await bind.dig(`web.${zone}`, "CNAME"), "by-hand.example.com.");
    assert.equal(await bind.dig(`_culvert.web.${zone}`, "TXT"), "");
  },
);

bindTest(
  "a wrong key, another zone and a wrong name are refused with a reason and no secret",
  async (bind, at) => {
    const key = { ...bind.key, secret: new Uint8Array(32) };
    const cases = {
      "a wrong key": await dns.put({ ...at, key }, record("web"), ours),
      "another zone": await dns.put({ ...at, name: "b.example.com" }, record("web"), ours),
      "a label that is too long": await dns.put(at, record("x".repeat(64)), ours),
    };
    for (const [name, outcome] of Object.entries(cases)) {
      assert.equal(outcome.kind, "refused", name);
      assert.equal(JSON.stringify(outcome).includes(bind.secret), false, name);
    }
  },
);

Deno.test("a name server that is away is told as such", async () => {
  const key = { name: "culvert", algorithm: "hmac-sha256", secret: new Uint8Array(32) } as const;
  const at = { name: zone, server: "127.0.0.1:19999", key };
  assert.equal((await dns.put(at, record("web"), ours)).kind, "unreachable");
});
