import assert from "node:assert/strict";
import fc from "fast-check";
import { type ClusterRoute, clusterRouteOf } from "../../lib/relay/route.ts";
import { check } from "../protocol/property.ts";

Deno.test("clusterRouteOf splits cluster and path byte for byte", () => {
  const cases: [string, string, string][] = [
    ["/tunnel/c/", "c", "/"],
    ["/tunnel/c", "c", "/"],
    ["/tunnel/c/api/v1/pods", "c", "/api/v1/pods"],
    ["/tunnel/c/a?b=c&d", "c", "/a?b=c&d"],
    ["/tunnel/c?watch=1", "c", "/?watch=1"],
    ["/tunnel/c?", "c", "/?"],
    ["/tunnel/c/?", "c", "/?"],
    ["/tunnel/c/a?/b/../c", "c", "/a?/b/../c"],
    ["/tunnel/c/..", "c", "/.."],
    ["/tunnel/c/../d", "c", "/../d"],
    ["/tunnel/c/a/./b/../../..", "c", "/a/./b/../../.."],
    ["/tunnel/c//", "c", "//"],
    ["/tunnel/c//host/a", "c", "//host/a"],
    ["/tunnel/c/a//b", "c", "/a//b"],
    ["/tunnel/c/a%2Fb%2f%2E%2e", "c", "/a%2Fb%2f%2E%2e"],
    ["/tunnel/c/%00%zz%", "c", "/%00%zz%"],
    ["/tunnel/c/a;b=c,d:e@f", "c", "/a;b=c,d:e@f"],
    ["/tunnel/c/a#b", "c", "/a#b"],
    ["/tunnel/c/\\..\\a", "c", "/\\..\\a"],
    ["/tunnel/c/\xe9\xff", "c", "/\xe9\xff"],
    ["/tunnel/a%2Fb/c", "a%2Fb", "/c"],
    ["/tunnel/../c", "..", "/c"],
    ["/tunnel//c", "", "/c"],
    ["/tunnel/", "", "/"],
    ["/tunnel/?c", "", "/?c"],
    ["/tunnel/c/http://other/", "c", "/http://other/"],
    ["http://relay/tunnel/c/a?b", "c", "/a?b"],
    ["http://relay:8080/tunnel/c/../%2F", "c", "/../%2F"],
    ["HTTPS://user@relay/tunnel/c", "c", "/"],
    ["http://relay/tunnel/c?x=http://y/z", "c", "/?x=http://y/z"],
  ];
  for (const [target, cluster, path] of cases) {
    assert.deepEqual(clusterRouteOf(target), { kind: "cluster", cluster, path }, target);
  }
});

Deno.test("clusterRouteOf takes nothing else for a tunnel", () => {
  const targets = [
    "",
    "*",
    "/",
    "/tunnel",
    "/tunnels/c/",
    "/Tunnel/c/",
    "/./tunnel/c/",
    "//tunnel/c/",
    "/%74unnel/c/",
    "/a/../tunnel/c/",
    "tunnel/c/",
    "http://relay",
    "http://relay/",
    "http://relay?/tunnel/c/",
    "http://tunnel/c/",
    "ftp://relay/tunnel/c/",
    "relay:8080",
  ];
  for (const target of targets) assert.equal(clusterRouteOf(target), undefined, target);
});

Deno.test("clusterRouteOf loses no byte of any path", () => {
  const visible = fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code));
  const cluster = fc.string({ unit: visible, maxLength: 10 }).map((text) =>
    text.replace(/[/?]/g, "")
  );
  const rest = fc.string({ unit: fc.oneof(visible, fc.constantFrom("/", ".", "%", "?")) });
  check(fc.property(cluster, rest, (cluster, rest) => {
    const route: ClusterRoute = { kind: "cluster", cluster, path: `/${rest}` };
    assert.deepEqual(clusterRouteOf(`/tunnel/${cluster}/${rest}`), route);
    assert.deepEqual(clusterRouteOf(`http://relay/tunnel/${cluster}/${rest}`), route);
  }));
});
