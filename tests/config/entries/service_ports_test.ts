import assert from "node:assert/strict";
import { overlap } from "../../../lib/config/entries/service_ports.ts";
import type { ServicesContext } from "../../../lib/config/entries/service_checks.ts";
import { readServices } from "../../../lib/config/entries/services.ts";
import { parseListenAddress } from "../../../lib/config/options/address.ts";
import { refusalOf } from "../support.ts";

const context: ServicesContext = { ownNames: [], hasJwtIssuer: false };

function read(entries: readonly object[], more: Partial<ServicesContext> = {}) {
  const services = entries.map((entry, index) => ({
    name: `pg-${index}`,
    hostnames: [`pg-${index}.example.com`],
    cluster: "dev",
    target: "pg",
    kind: "tcp",
    policy: "public",
    ...("listen" in entry) && { allow: ["10.0.0.0/8"] },
    ...entry,
  }));
  const policies = [{ name: "laptops", any: [{ certificate: "laptop-*" }] }];
  const text = JSON.stringify({ services, policies });
  return readServices([{ text, source: "File" }], { ...context, ...more });
}

Deno.test("overlap() knows which addresses are in each other's way", () => {
  const cases: [string, string, boolean][] = [
    ["127.0.0.1:1", "127.0.0.1:1", true],
    ["127.0.0.1:1", "127.0.0.1:2", false],
    ["127.0.0.1:1", "127.0.0.2:1", false],
    [":1", "127.0.0.1:1", true],
    ["[::]:1", "127.0.0.1:1", true],
    ["0.0.0.0:1", "127.0.0.1:1", true],
    ["0.0.0.0:1", "[::1]:1", false],
    [":0", ":0", false],
  ];
  for (const [a, b, expected] of cases) {
    const [first, second] = [parseListenAddress(a)!, parseListenAddress(b)!];
    assert.equal(overlap(first, second), expected, `${a} ${b}`);
    assert.equal(overlap(second, first), expected, `${b} ${a}`);
  }
});

Deno.test("two services, or a service and the relay, can't listen on one port", () => {
  assert.equal(
    refusalOf(() => read([{ listen: "127.0.0.1:5432" }, { listen: ":5432" }])),
    'File, entry 2 ("pg-1"): listen: File, entry 1 ("pg-0") listens on 127.0.0.1:5432 already; ' +
      "each needs its own port",
  );
  const taken = [{ place: "Option --web-addr", address: { hostname: "", port: 443 } }];
  assert.equal(
    refusalOf(() => read([{ listen: "10.0.0.1:443" }], { taken })),
    'File, entry 1 ("pg-0"): listen: Option --web-addr listens on :443 already; each needs its own port',
  );
  assert.equal(read([{ listen: ":5432" }, { listen: ":5433" }, {}], { taken }).services.length, 3);
});

Deno.test("a port with TLS needs a certificate, and may then demand one of its clients", () => {
  const entry = { listen: ":5432", listenTls: true };
  const demanding = { ...entry, policy: "laptops" };
  assert.match(refusalOf(() => read([{ listenTls: true }])), /listenTls: needs listen as well/);
  assert.match(
    refusalOf(() => read([{ listen: ":5432", listenTls: "yes" }])),
    /listenTls: must be true or false/,
  );
  assert.match(refusalOf(() => read([entry])), /listenTls: needs --tls-cert and --tls-key as well/);
  assert.match(
    refusalOf(() => read([demanding], { serverTls: "on" })),
    /has a rule about certificate, which the relay cannot see there/,
  );
  assert.match(
    refusalOf(() => read([{ listen: ":5432", policy: "laptops" }], { serverTls: "mutual" })),
    /has a rule about certificate, which the relay cannot see there/,
  );
  assert.equal(read([entry], { serverTls: "on" }).services[0]?.listenTls, true);
  assert.equal(read([demanding], { serverTls: "mutual" }).services.length, 1);
});

Deno.test("at the edge no service can listen, or have its TLS passed on", () => {
  const edge = { isAtEdge: true };
  assert.equal(
    refusalOf(() => read([{ listen: ":5432" }], edge)),
    'File, entry 1 ("pg-0"): listen: a relay at the edge cannot open ports; remove it',
  );
  assert.match(
    refusalOf(() => read([{ kind: "tls" }], edge)),
    /kind: "tls" is impossible at the edge/,
  );
  assert.equal(read([{}], edge).services.length, 1);
});
