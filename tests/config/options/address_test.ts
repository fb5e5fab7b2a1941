import assert from "node:assert/strict";
import fc from "fast-check";
import {
  formatAddress,
  parseListenAddress,
  parseTargetAddress,
} from "../../../lib/config/options/address.ts";

Deno.test("parseListenAddress reads addresses as Go writes them", () => {
  const cases: [string, string, number][] = [
    [":8443", "", 8443],
    [":0", "", 0],
    ["127.0.0.1:0", "127.0.0.1", 0],
    ["0.0.0.0:65535", "0.0.0.0", 65_535],
    ["localhost:80", "localhost", 80],
    ["[::1]:8080", "::1", 8080],
    ["[::]:1", "::", 1],
    ["[fe80::1%eth0]:80", "fe80::1%eth0", 80],
  ];
  for (const [text, hostname, port] of cases) {
    assert.deepEqual(parseListenAddress(text), { hostname, port }, text);
  }
});

const WRONG_ANYWHERE = [
  "",
  ":",
  "8080",
  "localhost",
  "localhost:",
  "localhost:http",
  "localhost:-1",
  "localhost:080",
  "localhost:65536",
  "localhost:999999",
  "localhost:80 ",
  " localhost:80",
  "local host:80",
  "http://localhost:80",
  "localhost:80/path",
  "::1:80",
  "[::1]",
  "[::1]80",
  "[]:80",
  "[localhost]:80",
  "[127.0.0.1]:80",
  "[::g]:80",
  "127.0.0.256:80",
  "127.0.1:80",
  "-host:80",
  "host:80:90",
];

Deno.test("parseListenAddress refuses everything else", () => {
  for (const text of WRONG_ANYWHERE) {
    assert.equal(parseListenAddress(text), undefined, JSON.stringify(text));
  }
});

Deno.test("parseTargetAddress needs a host, and a port that can be dialled", () => {
  for (const text of [...WRONG_ANYWHERE, ":443", "localhost:0"]) {
    assert.equal(parseTargetAddress(text), undefined, JSON.stringify(text));
  }
  assert.deepEqual(parseTargetAddress("kubernetes.default.svc:443"), {
    hostname: "kubernetes.default.svc",
    port: 443,
  });
  assert.deepEqual(parseTargetAddress("[fd00::1]:6443"), { hostname: "fd00::1", port: 6443 });
  assert.deepEqual(parseTargetAddress("my_service:1"), { hostname: "my_service", port: 1 });
});

Deno.test("formatAddress writes what parseListenAddress reads", () => {
  const hostname = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6(), fc.constant(""));
  fc.assert(fc.property(hostname, fc.nat(65_535), (hostname, port) => {
    const text = formatAddress({ hostname, port });
    assert.deepEqual(parseListenAddress(text), { hostname, port }, text);
  }));
});
