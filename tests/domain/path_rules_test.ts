import assert from "node:assert/strict";
import { pathFault, type PathRule, pathRuleKey, PathRules } from "../../lib/domain/path_rules.ts";

function prefix(value: string): PathRule {
  return { type: "Prefix", value };
}

function exact(value: string): PathRule {
  return { type: "Exact", value };
}

/** Rules that each lead to themselves. */
function rulesOf(...rules: PathRule[]): PathRules<string> {
  return new PathRules(rules.map((rule) => [rule, `${rule.type} ${rule.value}`]));
}

Deno.test("a Prefix is for whole segments, an Exact for one path, and case counts", () => {
  const rules = rulesOf(prefix("/abc"), exact("/exact"));
  const cases: [string, string | undefined][] = [
    ["/abc", "Prefix /abc"],
    ["/abc/", "Prefix /abc"],
    ["/abc/d", "Prefix /abc"],
    ["/abcd", undefined],
    ["/ab", undefined],
    ["/ABC", undefined],
    ["/exact", "Exact /exact"],
    ["/exact/", undefined],
    ["/exact/d", undefined],
    ["/", undefined],
    ["", undefined],
  ];
  for (const [path, found] of cases) assert.equal(rules.find(path), found, path);
});

Deno.test("an Exact comes before a Prefix, and the longest Prefix first, whatever their order", () => {
  const all = [prefix("/"), prefix("/a"), prefix("/a/b"), exact("/a/b")];
  for (const rules of [rulesOf(...all), rulesOf(...all.reverse())]) {
    const cases: [string, string][] = [
      ["/a/b", "Exact /a/b"],
      ["/a/b/", "Prefix /a/b"],
      ["/a/b/c", "Prefix /a/b"],
      ["/a/bc", "Prefix /a"],
      ["/x", "Prefix /"],
      ["", "Prefix /"],
    ];
    for (const [path, found] of cases) assert.equal(rules.find(path), found, path);
  }
});

Deno.test("a Prefix with a slash at its end is the one without", () => {
  const rules = rulesOf(prefix("/abc/"));
  for (const path of ["/abc", "/abc/", "/abc/d"]) assert.equal(rules.find(path), "Prefix /abc/");
  assert.equal(rules.find("/abcd"), undefined);
  assert.equal(pathRuleKey(prefix("/abc/")), pathRuleKey(prefix("/abc")));
  assert.notEqual(pathRuleKey(exact("/abc/")), pathRuleKey(exact("/abc")));
  assert.notEqual(pathRuleKey(exact("/abc")), pathRuleKey(prefix("/abc")));
});

Deno.test("a path leads nowhere if servers may read another rule's out of it, or climb by ..", () => {
  const rules = rulesOf(prefix("/"), prefix("/api"), exact("/api/hook"));
  const parted = [
    ...["/api%2Fx", "/%61pi", "/%61pi/x", "//api", "/.//api", "/./api/x", "/api;v=1/x", "/api\\x"],
    ...[
      "/api/./hook",
      "/api//hook",
      "/api/hoo%6b",
      "/api/hook;x",
      "/%2fapi",
      "/%5capi",
      "/%3b/api",
    ],
  ];
  for (const path of parted) assert.equal(rules.find(path), undefined, path);
  const climbing = [
    ...[
      "/..",
      "/api/..",
      "/api/../x",
      "/api/a/../b",
      "/api/%2e%2e/x",
      "/api/.%2E/x",
      "/api/..%2fx",
    ],
    ...["/api/..;/x", "/api/..;a=b/x", "/api/..\\x", "/x/../api", "/x/..", "/x%2f..%2fy"],
    ...["/api/a\\b/../../x", "/api/a%2fb/../../x", "/api/..%3b/x", "/api/%2e%2e%5cx"],
  ];
  for (const path of climbing) assert.equal(rules.find(path), undefined, path);
  const together: [string, string][] = [
    ["/api//x", "Prefix /api"],
    ["/api/./x", "Prefix /api"],
    ["/api/group%2Frepo", "Prefix /api"],
    ["/api/x;v=1", "Prefix /api"],
    ["/api/...", "Prefix /api"],
    ["/projects/group%2Frepo", "Prefix /"],
    ["/proxy/https://example.com/", "Prefix /"],
    ["/a%2520b", "Prefix /"],
    ["/%", "Prefix /"],
    ["/.well-known/x", "Prefix /"],
  ];
  for (const [path, found] of together) assert.equal(rules.find(path), found, path);
});

Deno.test("a rule's value may be percent-encoded, and is found as it stands", () => {
  const rules = rulesOf(prefix("/caf%C3%A9"), exact("/a%20b"));
  assert.equal(rules.find("/caf%C3%A9/x"), "Prefix /caf%C3%A9");
  assert.equal(rules.find("/a%20b"), "Exact /a%20b");
  for (const path of ["/caf%c3%a9", "/caf\xc3\xa9", "/%63af%C3%A9", "/a b"]) {
    assert.equal(rules.find(path), undefined, path);
  }
  assert.equal(pathRuleKey(prefix("/%61pi")), pathRuleKey(prefix("/api")));
});

/** RFC 3986 section 2.3. */
const unreserved = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"];

Deno.test("a character that must be percent-encoded, or may be, can be so in a rule's value", () => {
  for (let code = 0; code < 256; code++) {
    if ([...unreserved, ..."/\\;%"].includes(String.fromCharCode(code))) continue;
    const value = `/a%${code.toString(16).padStart(2, "0")}`;
    assert.equal(pathFault(value), undefined, value);
  }
});

Deno.test("what can't be a rule's value is told, with what would be right", () => {
  const cases: [string, RegExp][] = [
    ["", /^must begin with "\/"$/],
    ["api", /^must begin with "\/"$/],
    [`/${"x".repeat(1_024)}`, /^must have at most 1024 characters$/],
    ...["/a?b", "/a#b", "/a b", "/a;b", "/ä", "/%zz", "/%2", "/a\\b"].map(
      (value): [string, RegExp] => [value, /^must be a path as URLs have it/],
    ),
    ...["/a//b", "//", "/.", "/..", "/a/../b", "/a/./b", "/a%2Fb", "/a%2eb", "/%25", "/%5c"].map(
      (value): [string, RegExp] => [value, /^must have no empty segment/],
    ),
    ...unreserved.filter((character) => character !== ".").flatMap((character) => {
      const hex = character.charCodeAt(0).toString(16);
      return [`/a%${hex}b`, `/%${hex.toUpperCase()}`];
    }).map((value): [string, RegExp] => [value, /^must have letters, digits/]),
  ];
  for (const [value, fault] of cases) assert.match(pathFault(value) ?? "none", fault, value);
  for (const value of ["/", "/a", "/a/", "/.well-known/x", "/a..b/...", "/~u/@x:1", "/a%20b"]) {
    assert.equal(pathFault(value), undefined, value);
  }
});
