/** Dynamic updates of a zone at a real bind9. */
import assert from "node:assert/strict";
import { Rfc2136, type Zone } from "../../../lib/operator/dns/rfc2136.ts";
import { type DnsRecord, ownerText } from "../../../lib/operator/dns/records.ts";
import { dnsExchange } from "../../../lib/runtime/deno/dns_exchange.ts";
import { Bind, delegatedZone, hasBind, zone } from "./bind.ts";

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
      "another zone": await dns.put({ ...at, name: "c.example.com" }, record("web"), ours),
      "a label that is too long": await dns.put(at, record("x".repeat(64)), ours),
    };
    for (const [name, outcome] of Object.entries(cases)) {
      assert.equal(outcome.kind, "refused", name);
      assert.equal(JSON.stringify(outcome).includes(bind.secret), false, name);
    }
  },
);

bindTest("why a signature is refused is said in words", async (bind, at) => {
  const reasonOf = async (key: Zone["key"], client = dns) => {
    const outcome = await client.put({ ...at, key }, record("web"), ours);
    assert.equal(outcome.kind, "refused");
    return "reason" in outcome ? outcome.reason : "";
  };
  assert.match(await reasonOf({ ...bind.key, secret: new Uint8Array(32) }), /\(BADSIG: the key's/);
  assert.match(await reasonOf({ ...bind.key, name: "unknown" }), /\(BADKEY: it does not know/);
  const late = new Rfc2136({ exchange: dnsExchange, nowMs: () => Date.now() - 3_600_000 });
  assert.match(await reasonOf(bind.key, late), /\(BADTIME: its clock differs/);
  assert.deepEqual(await dns.remove(at, record("web"), ours), { kind: "done" });
});

bindTest(
  "the apex of a zone can point at addresses, and belongs to one owner",
  async (bind, at) => {
    const apex: DnsRecord = { name: zone, type: "AAAA", target: "2001:db8::7", ttl: 60 };
    assert.deepEqual(await dns.put(at, apex, ours), { kind: "done" });
    assert.equal(await bind.dig(zone, "AAAA"), "2001:db8::7");
    assert.deepEqual(await dns.put(at, apex, theirs), { kind: "taken" });
    const moved: DnsRecord = { ...apex, type: "A", target: "192.0.2.9" };
    assert.deepEqual(await dns.put(at, moved, ours), { kind: "done" });
    assert.equal(await bind.dig(zone, "A"), "192.0.2.9");
    assert.equal(await bind.dig(zone, "AAAA"), "");
    assert.deepEqual(await dns.remove(at, moved, ours), { kind: "done" });
    assert.equal(await bind.dig(zone, "A"), "");
    assert.equal(await bind.dig(zone, "NS"), `ns.${zone}.`);
  },
);

bindTest("names that a zone delegates are refused with what to set", async (bind, at) => {
  for (const name of [`web.${delegatedZone}`, `a.b.c.${delegatedZone}`, `*.${delegatedZone}`]) {
    const outcome = await dns.put(at, { ...record("x"), name }, ours);
    assert.match(JSON.stringify(outcome), /delegates it to other name servers: set dns.zone/, name);
  }
  assert.deepEqual(await dns.put(at, record("sub"), ours), { kind: "taken" });
  const records = await bind.transfer();
  assert.equal(records.some((line) => line.includes("_culvert.")), false, "nothing was written");
});

bindTest(
  "labels of 63 bytes have records; a name that is too long has none to remove",
  async (_, at) => {
    const label = "x".repeat(63);
    const long = record(`${label}.${label}.${label}`);
    assert.deepEqual(await dns.put(at, long, ours), { kind: "done" });
    assert.deepEqual(await dns.remove(at, long, ours), { kind: "done" });
    const tooLong = record(`${label}.${label}.${label}.${"y".repeat(40)}`);
    assert.equal((await dns.put(at, tooLong, ours)).kind, "refused");
    assert.deepEqual(await dns.remove(at, tooLong, ours), { kind: "done" });
  },
);

/** A server that answers each connection as the test says. */
function hostileServer(answer: (connection: Deno.Conn) => Promise<void>) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of listener) {
      await answer(connection).catch(() => {});
      try {
        connection.close();
      } catch {
        // It is closed already.
      }
    }
  })();
  return {
    server: `127.0.0.1:${listener.addr.port}`,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

Deno.test("a name server that hangs, ends or answers nonsense is unreachable, not believed", async () => {
  const key = { name: "culvert", algorithm: "hmac-sha256", secret: new Uint8Array(32) } as const;
  const bytes = (...values: number[]) => async (connection: Deno.Conn) => {
    await connection.read(new Uint8Array(1_000));
    await connection.write(Uint8Array.from(values));
  };
  const answers = {
    nothing: () => Promise.resolve(),
    "half a length": bytes(0),
    "less than it promised": bytes(0, 100, 1, 2, 3),
    "an empty message": bytes(0, 0),
    nonsense: bytes(0, 12, 1, 2, 0xa8, 0, 255, 255, 255, 255, 255, 255, 255, 255),
    silence: async (connection: Deno.Conn) => {
      while (await connection.read(new Uint8Array(1_000)) !== null);
    },
  };
  for (const [name, answer] of Object.entries(answers)) {
    await using hostile = hostileServer(answer);
    const outcome = await dns.put({ name: zone, server: hostile.server, key }, record("w"), ours);
    assert.equal(outcome.kind, "unreachable", name);
  }
});

Deno.test("a name server that is away is told as such", async () => {
  const key = { name: "culvert", algorithm: "hmac-sha256", secret: new Uint8Array(32) } as const;
  const at = { name: zone, server: "127.0.0.1:19999", key };
  assert.equal((await dns.put(at, record("web"), ours)).kind, "unreachable");
});
