import assert from "node:assert/strict";
import { AddressRanges } from "../../lib/domain/address_ranges.ts";
import { field } from "../../lib/http1/head.ts";
import { peerBehindProxy } from "../../lib/net/proxied_peer.ts";
import type { Peer } from "../../lib/net/exchange.ts";

const trusted = AddressRanges.parse("10.0.0.0/8,fd00::/8")!;

function behind(lines: Record<string, string | string[]>, own: Partial<Peer> = {}): Peer {
  const fields = Object.entries(lines).flatMap(([name, values]) =>
    [values].flat().map((value) => field(name, value))
  );
  return peerBehindProxy({ address: "10.0.0.1", isTls: false, ...own }, fields, trusted);
}

Deno.test("peerBehindProxy takes the nearest address that is no trusted proxy's", () => {
  const cases: [string | string[], string][] = [
    ["192.0.2.7", "192.0.2.7"],
    ["6.6.6.6, 192.0.2.7", "192.0.2.7"],
    ["6.6.6.6, 192.0.2.7, 10.0.0.9", "192.0.2.7"],
    ["6.6.6.6,192.0.2.7 ,10.0.0.9,fd00::9", "192.0.2.7"],
    [["6.6.6.6", "192.0.2.7, 10.0.0.9"], "192.0.2.7"],
    ["10.0.0.3, 10.0.0.2", "10.0.0.3"],
    ["192.0.2.7:4711", "192.0.2.7"],
    ["[2001:db8::7]:4711", "2001:db8::7"],
    ["2001:DB8::7", "2001:db8::7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["", "10.0.0.1"],
    // Who is behind what is no address can't be known.
    ["192.0.2.7, unknown", "10.0.0.1"],
    ["192.0.2.7, unknown, 10.0.0.9", "10.0.0.9"],
    ["192.0.2.7, _hidden, 192.0.2.8", "192.0.2.8"],
    ["192.0.2.7, 127.0.0.1<script>", "10.0.0.1"],
  ];
  for (const [list, address] of cases) {
    assert.equal(behind({ "X-Forwarded-For": list }).address, address, JSON.stringify(list));
  }
  assert.equal(
    behind({ Forwarded: "for=192.0.2.7", "X-Real-IP": "192.0.2.7" }).address,
    "10.0.0.1",
  );
  assert.equal(behind({ "X_Forwarded_For": "192.0.2.7" }).address, "10.0.0.1");
});

Deno.test("peerBehindProxy takes the protocol that the client's proxy was asked by", () => {
  const cases: [string | undefined, string | undefined, boolean, boolean][] = [
    ["https", undefined, false, true],
    ["HTTPS", undefined, false, true],
    ["wss", undefined, false, true],
    ["http", undefined, true, false],
    ["ws", undefined, true, false],
    [undefined, undefined, true, true],
    ["gopher", undefined, true, true],
    // One for each address: that of the client's proxy counts, and not what the client said.
    ["http, https, http", "6.6.6.6, 192.0.2.7, 10.0.0.9", false, true],
    // Fewer of them: the nearest proxy has passed it on.
    ["http, https", "6.6.6.6, 192.0.2.7, 10.0.0.9", false, true],
  ];
  for (const [proto, chain, isTls, expected] of cases) {
    const lines = {
      ...proto !== undefined && { "X-Forwarded-Proto": proto },
      ...chain !== undefined && { "X-Forwarded-For": chain },
    };
    assert.equal(behind(lines, { isTls }).isTls, expected, `${proto} ${chain}`);
  }
});

Deno.test("peerBehindProxy reads the end of a list alone, however long a client made it", () => {
  const proxies = Array<string>(40).fill("10.0.0.9").join(", ");
  assert.equal(behind({ "X-Forwarded-For": `192.0.2.7, ${proxies}` }).address, "10.0.0.9");
  const forged = Array<string>(30_000).fill("6").join(",");
  const peer = behind({
    "X-Forwarded-For": [forged, `${forged}, 192.0.2.7`],
    "X-Forwarded-Proto": [Array<string>(10_000).fill("http").join(","), "https"],
  });
  assert.deepEqual([peer.address, peer.isTls], ["192.0.2.7", true]);
  assert.equal(behind({ "X-Forwarded-For": ",,, ,192.0.2.7,, ," }).address, "192.0.2.7");
});

Deno.test("peerBehindProxy keeps the asked host for the target, if it is one", () => {
  const hostOf = (value: string) => behind({ "X-Forwarded-Host": value }).forwardedHost;
  assert.equal(hostOf("app.example:8443"), "app.example:8443");
  assert.equal(hostOf("forged.example, app.example"), "app.example");
  assert.equal(hostOf("[fd00::1]:80"), "[fd00::1]:80");
  for (const bad of ["a b", "a/b", "user@a", "", "a".repeat(256), "a:x", "<x>"]) {
    assert.equal(hostOf(bad), undefined, bad);
  }
});

Deno.test("peerBehindProxy leaves the proxy's certificate to the proxy's connection", () => {
  const certificate = { names: ["ingress"], expiresMs: Infinity };
  const peer = behind({ "X-Forwarded-For": "192.0.2.7" }, { certificate });
  assert.deepEqual(peer, { address: "192.0.2.7", isTls: false, certificate });
});
