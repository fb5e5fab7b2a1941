import assert from "node:assert/strict";
import { AskedRequest } from "../../lib/policies/asked.ts";
import { Policy } from "../../lib/policies/policy.ts";
import { describeRule } from "../../lib/policies/rule.ts";
import { nobody } from "./support.ts";

const policy = await Policy.from({
  name: "app",
  any: [
    { token: "viewer", methods: ["GET", "HEAD"] },
    { token: "editor" },
    { token: "scraper", methods: ["GET"], paths: ["/metrics", "/federate/"] },
    { token: "watcher", methods: ["GET", "CONNECT"], paths: ["/live"] },
    { token: "tunnel", methods: ["CONNECT"] },
  ],
}, "corp");

/** Whether the bearer of a token may ask for `METHOD PATH`, with `Upgrade` behind or not. */
function admits(token: string, line: string): boolean {
  const [method, path, upgrade] = line.split(" ");
  const asked = new AskedRequest(method!, path, upgrade !== undefined);
  return policy.allows({ ...nobody, token, asked });
}

for (
  const [token, line, isAdmitted] of [
    ["viewer", "GET /", true],
    ["viewer", "HEAD /x/y", true],
    ["viewer", "POST /", false],
    ["viewer", "DELETE /", false],
    ["viewer", "OPTIONS /", false],
    ["viewer", "OPTIONS *", false],
    // Methods are case-sensitive, though some targets are not.
    ["viewer", "get /", false],
    ["viewer", "GETX /", false],
    ["viewer", "GET /live Upgrade", false],
    ["viewer", "POST /live Upgrade", false],
    ["editor", "DELETE /", true],
    ["editor", "GET /live Upgrade", true],
    ["editor", "PURGE /../x", true],
    // HEAD is no GET: some frameworks carry out HEAD as neither.
    ["scraper", "HEAD /metrics", false],
    ["scraper", "GET /metrics", true],
    ["scraper", "GET /metrics/", false],
    ["scraper", "GET /federate", false],
    ["scraper", "GET /federate/x", true],
    ["scraper", "GET /federate/../admin", false],
    ["scraper", "GET /federate/%2e%2e/admin", false],
    ["scraper", "GET *", false],
    ["watcher", "GET /live", true],
    ["watcher", "GET /live Upgrade", true],
    ["watcher", "POST /live Upgrade", false],
    ["watcher", "CONNECT /live", true],
    // An upgrade takes its own method too.
    ["tunnel", "GET /live Upgrade", false],
    ["nobody", "GET /", false],
  ] as const
) {
  Deno.test(`rules with methods and paths ${isAdmitted ? "admit" : "refuse"} ${token}: ${line}`, () => {
    assert.equal(admits(token, line), isAdmitted);
  });
}

Deno.test("a rule about paths admits no request target that is none", () => {
  const asked = new AskedRequest("GET", undefined);
  assert.equal(policy.allows({ ...nobody, token: "scraper", asked }), false);
  assert.equal(policy.allows({ ...nobody, token: "viewer", asked }), true);
});

Deno.test("whoever may send some request may open the service, but no connection without requests", () => {
  const viewer = { ...nobody, token: "viewer" };
  assert.equal(policy.allows({ ...viewer, asked: "anything" }), true);
  assert.equal(policy.allows({ ...viewer, asked: "connection" }), false);
  assert.equal(policy.allows({ ...nobody, token: "editor", asked: "connection" }), true);
});

Deno.test("no credential helps where no rule is about the request", async () => {
  const reading = await Policy.from({ name: "x", any: [{ token: "a", methods: ["GET"] }] }, "corp");
  const could = (method: string) =>
    reading.couldAllow({ ...nobody, asked: new AskedRequest(method, "/") }, () => true);
  assert.equal(could("GET"), true);
  assert.equal(could("DELETE"), false);
});

Deno.test("in a set of which all must be met, each rule has its own requests", async () => {
  const both = await Policy.from({
    name: "x",
    all: [{ address: "192.0.2.0/24", paths: ["/api/"] }, {
      any: [{ token: "viewer", methods: ["GET"] }, { token: "editor" }],
    }],
  }, "corp");
  const ask = (token: string, method: string, path: string) =>
    both.allows({ ...nobody, token, asked: new AskedRequest(method, path) });
  assert.equal(ask("viewer", "GET", "/api/x"), true);
  assert.equal(ask("viewer", "POST", "/api/x"), false);
  assert.equal(ask("viewer", "GET", "/x"), false);
  assert.equal(ask("editor", "POST", "/api/x"), true);
  assert.equal(ask("editor", "POST", "/x"), false);
});

Deno.test("a rule's methods and paths stand in its description, and not in its id", async () => {
  const rule = { claim: "groups", value: "viewers" };
  const paths = ["/metrics", "/api/"];
  const made = await Policy.from({
    name: "x",
    any: [rule, { ...rule, methods: ["GET", "HEAD"] }, { ...rule, methods: ["GET"], paths }],
  }, "corp");
  assert.deepEqual(made.rules.map(describeRule), [
    '"viewers" in groups',
    '"viewers" in groups, with GET or HEAD',
    '"viewers" in groups, with GET, at /metrics or below /api/',
  ]);
  // Sessions keep the ids of rules that their claims met; what they may do with them is asked anew.
  assert.equal(new Set(made.personRules.map(({ id }) => id)).size, 1);
});
