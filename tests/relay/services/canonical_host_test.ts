import assert from "node:assert/strict";
import { canonicalHost, wildcardOf } from "../../../lib/relay/services/canonical_host.ts";

Deno.test("canonicalHost has one spelling for each name", () => {
  const cases: [string, string][] = [
    ["dash.example.com", "dash.example.com"],
    ["DASH.Example.COM", "dash.example.com"],
    ["dash.example.com:443", "dash.example.com"],
    ["dash.example.com:", "dash.example.com"],
    ["dash.example.com.", "dash.example.com"],
    ["dash.example.com.:8443", "dash.example.com"],
    ["dash", "dash"],
    ["_dmarc.a", "_dmarc.a"],
    ["xn--mnchen-3ya.test", "xn--mnchen-3ya.test"],
    [`${"a".repeat(63)}.test`, `${"a".repeat(63)}.test`],
  ];
  for (const [host, name] of cases) assert.equal(canonicalHost(host), name, host);
});

Deno.test("canonicalHost refuses what is no name", () => {
  const wrong = [
    ...["", ".", "..", "a..b", ".a", "a..", "-a.b", "a-.b", "a b", "a%2eb", "ä.test", "a/b", "a@b"],
    ...["[::1]", "[::1]:80", "a:b", "a:123456", "*.a", "a\0b", "a.test:80:80", "a".repeat(64)],
    `${"a.".repeat(126)}aa`,
  ];
  for (const host of wrong) assert.equal(canonicalHost(host), undefined, JSON.stringify(host));
});

Deno.test("wildcardOf stands for one label", () => {
  assert.deepEqual(["a.b.c", "a.b", "a"].map(wildcardOf), ["*.b.c", "*.b", "*"]);
});
