/** Policies whose rules have methods and paths: what comes of requests. */
import assert from "node:assert/strict";
import type { PolicyEntry } from "../../../lib/domain/policy.ts";
import { field } from "../../../lib/http1/head.ts";
import { systemClock } from "../../../lib/jwt/clock.ts";
import { Denial, type Identity } from "../../../lib/relay/callers/caller.ts";
import { Callers } from "../../../lib/relay/callers/callers.ts";
import { askedBy } from "../../../lib/relay/people/asked_request.ts";
import { Authorizer } from "../../../lib/relay/people/authorizer.ts";
import { People } from "../../../lib/relay/people/people.ts";
import { isAnonymous } from "../../../lib/relay/services/anonymous_paths.ts";
import { pathOf } from "../../../lib/relay/route.ts";
import { tokenDigest as digest } from "../../../lib/runtime/node/token_digest.ts";
import type { Service } from "../../../lib/domain/service.ts";

const policies: readonly PolicyEntry[] = [
  {
    name: "app",
    any: [
      { token: "viewer", methods: ["GET", "HEAD"], paths: ["/public/", "/metrics"] },
      { token: "editor", methods: ["GET", "POST", "PUT", "DELETE"] },
      { address: "10.0.0.0/8", methods: ["GET"], paths: ["/metrics"] },
    ],
  },
  { name: "methods", any: [{ token: "viewer", methods: ["GET"] }, { token: "editor" }] },
  { name: "plain", any: [{ token: "viewer" }] },
];

const names = ["viewer", "editor", "other"];
const tokens = names.map((name) => ({ name, token: `token-of-the-${name}`, clusters: ["none"] }));
const callers = await Callers.create({ mode: "known", tokens }, { digest });
const people = await People.create({ providers: [], policies }, {
  clock: systemClock,
  ...{ digest, changed() {}, fetch: (url, init) => fetch(url, init) },
  keysEvents: { fetched() {}, failed() {} },
});
const authorizer = new Authorizer(callers, people);

interface Ask {
  readonly policy?: string;
  readonly token?: string;
  readonly fields?: Readonly<Record<string, string>>;
  readonly address?: string;
}

async function identify(line: string, ask: Ask = {}): Promise<Identity> {
  const { policy = "app", token, fields = {}, address = "192.0.2.1" } = ask;
  const [method, ...rest] = line.split(" ");
  const bearer = token === undefined ? {} : { Authorization: `Bearer token-of-the-${token}` };
  const head = {
    ...{ method: method!, target: rest.join(" "), minor: 1 as const },
    fields: Object.entries({ ...bearer, ...fields }).map(([name, value]) => field(name, value)),
  };
  const requirements = { policy };
  return await authorizer.identify({
    ...{ requirements, currentRequirements: () => requirements, authorization: "culvert" },
    asked: askedBy(head, pathOf(head.target)),
  }, { head, peer: { address, isTls: true } });
}

function told(identity: Identity): string {
  if (!(identity instanceof Denial)) return identity.name;
  return `${identity.answer.status} ${identity.answer.code}`;
}

const websocket = { Connection: "Upgrade", Upgrade: "websocket" };
for (
  const [line, ask, outcome] of [
    ["GET /public/app.js?v=1", { token: "viewer" }, "viewer"],
    ["GET /metrics", { token: "viewer" }, "viewer"],
    ["GET /metrics?x=/public/../", { token: "viewer" }, "viewer"],
    ["GET /admin?/public/", { token: "viewer" }, "403 request_denied"],
    ["POST /public/", { token: "viewer" }, "403 request_denied"],
    ["GET /admin", { token: "viewer" }, "403 request_denied"],
    ["DELETE /admin", { token: "editor" }, "editor"],
    ["PATCH /admin", { token: "editor" }, "403 request_denied"],
    ["GET /public/", { token: "other" }, "403 policy_denied"],
    // Nobody yet: a credential helps only where a rule is about the request.
    ["GET /public/", {}, "401 caller_unknown"],
    ["DELETE /public/", {}, "401 caller_unknown"],
    ["PATCH /public/", {}, "403 policy_denied"],
    ["GET /metrics", { address: "10.1.2.3" }, "network"],
    ["GET /x", { address: "10.1.2.3" }, "401 caller_unknown"],
    ["PATCH /metrics", { address: "10.1.2.3" }, "403 request_denied"],
    // Case 36 of the design, and its like: nobody, not even an editor.
    ...[
      ...["/public/../admin", "/public/%2e%2e/admin", "/public%2f..%2fadmin", "//public/"],
      ...["/public;x/", "/public/\\..\\admin", "/public/..%00/", "/public/%c0%ae%c0%ae/"],
      ...["http://app.test/public/", "HTTP://APP.TEST/public/", "http://app.test"],
    ].flatMap((target) => [
      [`GET ${target}`, { token: "viewer" }, "400 ambiguous_path"] as const,
      [`GET ${target}`, { token: "editor" }, "400 ambiguous_path"] as const,
      [`GET ${target}`, {}, "400 ambiguous_path"] as const,
      // Case 37: without rules about paths it is the target's to say what they mean.
      [`GET ${target}`, { token: "viewer", policy: "methods" }, "viewer"] as const,
      [`GET ${target}`, { token: "viewer", policy: "plain" }, "viewer"] as const,
    ]),
    ["OPTIONS *", { token: "viewer" }, "403 request_denied"],
    ["OPTIONS *", { token: "editor", policy: "methods" }, "editor"],
    // An upgrade hides what is done by it.
    ["GET /public/", { token: "viewer", fields: websocket }, "403 request_denied"],
    ["GET /x", { token: "viewer", policy: "methods", fields: websocket }, "403 request_denied"],
    ["GET /x", { token: "editor", policy: "methods", fields: websocket }, "editor"],
    ["GET /x", { token: "editor", fields: websocket }, "403 request_denied"],
    // Without `Connection`, it is no upgrade, and none is forwarded.
    ["GET /public/", { token: "viewer", fields: { Upgrade: "websocket" } }, "viewer"],
    ...["X-HTTP-Method-Override", "X-HTTP-Method", "X_Method_Override"].flatMap((name) => [
      ["GET /x", {
        token: "editor",
        policy: "methods",
        fields: { [name]: "DELETE" },
      }, "400 override_refused"] as const,
      [
        "GET /x",
        { token: "viewer", policy: "plain", fields: { [name]: "DELETE" } },
        "viewer",
      ] as const,
    ]),
    ...["X-Original-URL", "x_rewrite.url"].flatMap((name) => [
      ["GET /metrics", {
        token: "viewer",
        fields: { [name]: "/admin" },
      }, "400 override_refused"] as const,
      ["GET /metrics", {
        token: "viewer",
        policy: "methods",
        fields: { [name]: "/admin" },
      }, "viewer"] as const,
    ]),
  ] as readonly (readonly [string, Ask, string])[]
) {
  const { token = "nobody", policy = "app", fields = {}, address = "" } = ask;
  const what = [policy, token, line, ...Object.keys(fields), address].filter((it) => it).join(" ");
  Deno.test(`by methods and paths, ${what} is ${outcome}`, async () => {
    assert.equal(told(await identify(line, ask)), outcome);
  });
}

Deno.test("a caller that may do other things is told which", async () => {
  const denial = await identify("POST /x", { token: "viewer" });
  assert.ok(denial instanceof Denial);
  assert.equal(
    denial.answer.message,
    "the policy lets this caller in only with GET or HEAD, below /public/ or at /metrics",
  );
  assert.match(denial.detail!, /^not met: the token "viewer", with GET or HEAD, below /);
});

Deno.test("a request ends once its rule is no longer about it", async () => {
  const caller = await identify("DELETE /x", { token: "editor" });
  assert.ok(!(caller instanceof Denial));
  const isValid = () => caller.grant!.mayReach("none", Date.now());
  assert.equal(isValid(), true);
  const use = (any: readonly object[]) =>
    people.replace({ providers: [], policies: [{ name: "app", any: any as never }] });
  await use([{ token: "editor", methods: ["GET"] }]);
  assert.equal(isValid(), false, "another method");
  await use([{ token: "editor", paths: ["/y"] }]);
  assert.equal(isValid(), false, "another path");
  await use([{ token: "editor", methods: ["DELETE"], paths: ["/x"] }]);
  assert.equal(isValid(), true, "the same request");
  await people.replace({ providers: [], policies });
});

Deno.test("a path that anybody may use is none for a field that names another", () => {
  const service = { anonymousPaths: ["/manifest.json", "/public/"] } as unknown as Service;
  const ask = (path: string, ...names: string[]) =>
    isAnonymous(service, path, names.map((name) => field(name, "/admin")));
  assert.equal(ask("/manifest.json?v=1"), true);
  assert.equal(ask("/public/caf%C3%A9"), true);
  assert.equal(ask("/public/..%2fadmin"), false);
  assert.equal(ask("/manifest.json", "Accept"), true);
  assert.equal(ask("/manifest.json", "X-Original-Url"), false);
  assert.equal(ask("/public/x", "X_Rewrite_Url"), false);
});
