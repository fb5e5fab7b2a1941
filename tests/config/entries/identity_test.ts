import assert from "node:assert/strict";
import type { z } from "zod";
import { identitySchema, impersonationDemands } from "../../../lib/config/entries/identity.ts";

function faultOf(schema: z.ZodType, value: unknown): string | undefined {
  const issue = schema.safeParse(value).error?.issues[0];
  return issue && [...issue.path, issue.message].join(": ");
}

for (
  const name of [
    ...["Host", "Cookie", "Authorization", "cookie", "Content-Length", "Connection", "Te"],
    ...["X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id", "Impersonate-User", "Via"],
    ...["Culvert-Identity", "Sec-Fetch-Site", "Proxy-Authorization", "Access-Control-Allow-Origin"],
  ]
) {
  Deno.test(`identity: ${name} can't be the header of a name`, () => {
    const fault = faultOf(identitySchema, { headers: { [name]: "username" } });
    assert.match(fault ?? "", /is a header with another meaning$/);
  });
}

for (
  const [what, value, fault] of [
    ["an unknown key", { assertions: true }, /^unknown key "assertions"; did you mean "assertion"/],
    ["a header with an underscore", { headers: { X_User: "username" } }, /name of a header/],
    ["a header twice", { headers: { "X-User": "username", "x-user": "sub" } }, /two spellings/],
    ["an unknown value", { headers: { "X-User": "mail" } }, /must be one of username, sub/],
    ["a system prefix", { impersonate: { prefix: "system:" } }, /^impersonate: prefix: must not/],
    ["a system group", { impersonate: { groups: { a: ["system:masters"] } } }, /must not begin/],
    ["a system user", { impersonate: { users: { a: "system:admin" } } }, /must not begin/],
    ["a caller without its kind", { impersonate: { callers: { ci: {} } } }, /token:NAME/],
  ] as const
) {
  Deno.test(`identity: ${what} is refused`, () => {
    assert.match(faultOf(identitySchema, value) ?? "", fault);
  });
}

const demands = {
  ...{ proof: "assertion", issuer: "login.example.com", audience: ["dash.example.com"] },
  ...{ jwksUrl: "https://login.example.com/.culvert/jwks.json", prefix: "corp:", groups: ["ops"] },
};

for (
  const [what, change, fault] of [
    ["all that it needs", {}, undefined],
    ["both sources of keys", { keysFile: "x" }, /either keysFile or jwksUrl/],
    ["neither", { jwksUrl: undefined }, /either keysFile or jwksUrl/],
    ["keys over plain HTTP", { jwksUrl: "http://login.example.com/" }, /https:/],
    ["no audience", { audience: [] }, /at least one audience/],
    ["another proof", { proof: "header" }, /"assertion" or "provider"/],
    ["a system group", { groups: ["system:masters"] }, /must not begin/],
    ["a username with an assertion", { username: "email" }, /is for proof: provider/],
  ] as const
) {
  Deno.test(`impersonate of a target with ${what} is ${fault ? "refused" : "taken"}`, () => {
    const given = Object.entries({ ...demands, ...change }).filter(([, value]) =>
      value !== undefined
    );
    const found = faultOf(impersonationDemands, Object.fromEntries(given));
    if (fault === undefined) assert.equal(found, undefined);
    else assert.match(found ?? "", fault);
  });
}
