import assert from "node:assert/strict";
import { z } from "zod";
import {
  checkPolicies,
  checkPolicyUse,
  policySchema,
  type PolicyUse,
} from "../../../lib/config/entries/policies.ts";
import {
  checkAudience,
  checkProviders,
  providerSchema,
} from "../../../lib/config/entries/providers.ts";
import type { PolicyEntry } from "../../../lib/domain/policy.ts";

function issueOf(schema: z.ZodType, value: unknown): string {
  const result = schema.safeParse(value);
  assert.ok(!result.success, "it was taken");
  const { path, message } = result.error.issues[0]!;
  return [...path, message].join(": ");
}

function faultOf(run: () => void): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return "it was taken";
}

const access = {
  name: "access",
  kind: "jwt-header",
  header: "Cf-Access-Jwt-Assertion",
  issuer: "https://team.example",
  jwksUrl: "https://team.example/certs",
};

Deno.test("policies: rules of every kind are read, with one level of sets within", () => {
  const entry = {
    name: "platform",
    any: [
      { claim: "groups", value: "platform" },
      { claim: ["realm_access", "roles"], value: "admin*", provider: "corp" },
      { emailDomain: "Example.COM" },
      { token: "ci", methods: ["GET", "CONNECT"], paths: ["/", "/metrics", "/api/v1:x/"] },
      { all: [{ certificate: "laptop-*" }, { address: "10.0.0.0/8" }] },
    ],
  };
  const read = policySchema.parse(entry);
  assert.deepEqual(read, { ...entry, any: entry.any.with(2, { emailDomain: "example.com" }) });
});

for (
  const [what, value, fault] of [
    ["neither any nor all", { name: "x" }, "must have either any or all"],
    [
      "both",
      { name: "x", any: [{ token: "a" }], all: [{ token: "a" }] },
      "must have either any or all",
    ],
    ["no rules", { name: "x", any: [] }, "any: must be a list of at least one rule"],
    [
      "no rules in a set",
      { name: "x", any: [{ all: [] }] },
      "any: 0: all: must be a list of at least one rule",
    ],
    [
      "the reserved name",
      { name: "public", any: [{ token: "a" }] },
      'name: must be another than "public", which lets everybody in',
    ],
    [
      "an unknown key",
      { name: "x", anny: [{ token: "a" }] },
      'unknown key "anny"; known are name, any, all',
    ],
    [
      "a mistyped rule",
      { name: "x", any: [{ claims: "groups", value: "a" }] },
      "any: 0: must be an object with one of claim, emailDomain, token, certificate, address",
    ],
    [
      "a rule without its value",
      { name: "x", any: [{ claim: "groups" }] },
      "any: 0: value: must be a string of 1 to 1024 characters",
    ],
    [
      "a rule with two subjects",
      { name: "x", any: [{ token: "a", address: "10.0.0.0/8" }] },
      "any: 0: has token and address; make each a rule of its own",
    ],
    [
      "a rule with a key of another kind",
      { name: "x", any: [{ token: "a", provider: "corp" }] },
      'any: 0: unknown key "provider"; known are token, tokenSha256, methods, paths',
    ],
    [
      "a digest without the token's name",
      { name: "x", any: [{ tokenSha256: "0".repeat(64) }] },
      "any: 0: needs token as well, which names it in logs",
    ],
    [
      "a digest beside a pattern",
      { name: "x", any: [{ token: "ci*", tokenSha256: "0".repeat(64) }] },
      "any: 0: token: must be the token's name for logs, without a *, beside tokenSha256",
    ],
    [
      "a token in the place of its digest",
      { name: "x", any: [{ token: "ci", tokenSha256: "secret" }] },
      "any: 0: tokenSha256: must be the token's SHA-256 in 64 hexadecimal digits",
    ],
    [
      "a method in lower case",
      { name: "x", any: [{ token: "a", methods: ["GET", "post"] }] },
      "any: 0: methods: 1: must be a method in upper case, such as GET",
    ],
    [
      "one method without a list",
      { name: "x", any: [{ token: "a", methods: "GET" }] },
      "any: 0: methods: must be a list of 1 to 32 methods",
    ],
    [
      "no methods",
      { name: "x", any: [{ token: "a", methods: [] }] },
      "any: 0: methods: must be a list of 1 to 32 methods",
    ],
    [
      "no paths",
      { name: "x", any: [{ token: "a", paths: [] }] },
      "any: 0: paths: must list a path; without paths, a rule is for all of them",
    ],
    ...["api/", "/a/../b", "/a//b", "/a/*", "/a;b", "/a?b", "/a%20b", "/a#b", "", "https://a/b"]
      .map((
        path,
      ) =>
        [
          `the path "${path}"`,
          { name: "x", any: [{ token: "a", paths: [path] }] },
          'any: 0: paths: 0: must be a path such as "/manifest.json", or one that ends in "/" for all below',
        ] as const
      ),
    [
      "a path of culvert's own",
      { name: "x", any: [{ token: "a", paths: ["/.culvert/tcp"] }] },
      "any: 0: paths: 0: is one of culvert's own paths",
    ],
    [
      "sets three levels deep",
      { name: "x", any: [{ all: [{ any: [{ token: "a" }] }] }] },
      "any: 0: all: 0: has rules within rules within rules; one level is possible",
    ],
    [
      "an address for a domain",
      { name: "x", any: [{ emailDomain: "@example.com" }] },
      "any: 0: emailDomain: must be one domain such as example.com, without @ and *",
    ],
    [
      "a wildcard domain",
      { name: "x", any: [{ emailDomain: "*.example.com" }] },
      "any: 0: emailDomain: must be one domain such as example.com, without @ and *",
    ],
    [
      "no range",
      { name: "x", any: [{ address: "10.1.2.3/8" }] },
      "any: 0: address: must be an address or a range such as 10.0.0.0/8",
    ],
  ] as const
) {
  Deno.test(`policies: ${what} is refused`, () => {
    assert.equal(issueOf(policySchema, value), fault);
  });
}

const person: PolicyEntry = { name: "staff", any: [{ claim: "groups", value: "staff" }] };
const place: PolicyEntry = { name: "office", all: [{ address: "10.0.0.0/8" }] };
const laptop: PolicyEntry = { name: "laptop", all: [{ certificate: "laptop" }] };
const reading: PolicyEntry = {
  name: "reading",
  any: [{ token: "ci" }, { all: [{ address: "10.0.0.0/8", methods: ["GET"] }] }],
};
const policies = [person, place, laptop, reading];

for (
  const [what, use, fault] of [
    [
      "one that is not there",
      { policy: "stafff", sees: "requests", provider: "corp" },
      'policy: there is no policy "stafff"; there are staff, office, laptop, reading, public',
    ],
    [
      "people, and nobody vouches for them",
      { policy: "staff", sees: "requests", provider: undefined },
      'policy "staff" has rules about people, and no provider identifies them; add a provider, or --caller-jwt-issuer',
    ],
    [
      "people, on a connection",
      { policy: "staff", sees: "connection", provider: "corp" },
      'policy "staff" has a rule about claim, which the relay cannot see there; it can be "public", or have rules about address',
    ],
    [
      "certificates, where there are none",
      { policy: "laptop", sees: "connection", provider: undefined },
      'policy "laptop" has a rule about certificate, which the relay cannot see there; it can be "public", or have rules about address',
    ],
    [
      "methods, where there are no requests",
      { policy: "reading", sees: "credentials", provider: undefined },
      'policy "reading" has a rule with methods, and there are no requests that could meet it; it can have rules without methods and paths',
    ],
    [
      "methods, at requests",
      { policy: "reading", sees: "requests", provider: undefined },
      undefined,
    ],
    ["certificates, where there are some", {
      policy: "laptop",
      sees: "connection",
      hasCertificates: true,
      provider: undefined,
    }, undefined],
    [
      "addresses, on a connection",
      { policy: "office", sees: "connection", provider: undefined },
      undefined,
    ],
    ["everybody", { policy: "public", sees: "connection", provider: undefined }, undefined],
    ["people with a provider", { policy: "staff", sees: "requests", provider: "corp" }, undefined],
  ] as const
) {
  Deno.test(`policies: a policy about ${what} is ${fault === undefined ? "taken" : "refused"}`, () => {
    const full: PolicyUse = { where: 'service "x"', ...use };
    const expected = fault === undefined ? "it was taken" : `Services: service "x": ${fault}`;
    assert.equal(faultOf(() => checkPolicyUse(full, policies, "Services")), expected);
  });
}

Deno.test("policies: twins and rules about unknown providers are refused", () => {
  assert.equal(
    faultOf(() => checkPolicies([person, person], [], "Services")),
    'Services, policies: entry 2 ("staff"): has the name of another policy',
  );
  const other: PolicyEntry = { name: "x", any: [{ emailDomain: "a.b", provider: "corpp" }] };
  assert.equal(
    faultOf(() => checkPolicies([other], [providerSchema.parse(access)], "Services")),
    'Services, policies: entry 1 ("x"): a rule names the provider "corpp"; there are access, caller-jwt',
  );
});

Deno.test("providers: a header's provider has the claims of an access proxy", () => {
  const { claims } = providerSchema.parse(access);
  assert.deepEqual(claims, {
    username: ["email", "common_name", "sub"],
    groups: "groups",
    verifiedEmail: "unlessDenied",
  });
});

Deno.test("providers: an OpenID provider's e-mail addresses must be verified", () => {
  const oidc = { name: "corp", kind: "oidc", issuer: "https://idp.example", clientId: "culvert" };
  assert.deepEqual(providerSchema.parse(oidc).claims.verifiedEmail, { claim: "email_verified" });
  const trusting = providerSchema.parse({ ...oidc, verifiedEmail: "always" });
  assert.equal(trusting.claims.verifiedEmail, "always");
});

for (
  const [what, change, fault] of [
    ["an unknown kind", { kind: "saml" }, 'kind: must be "oidc" or "jwt-header"'],
    [
      "an unknown key",
      { audience: "x" },
      'unknown key "audience"; known are name, username, groups, verifiedEmail, kind, issuer, header, jwksUrl',
    ],
    [
      "keys over plain HTTP",
      { jwksUrl: "http://team.example/certs" },
      "jwksUrl: must be an https:// URL without a user, query or fragment; http:// is for loopback only",
    ],
    [
      "Authorization as the header",
      { header: "Authorization" },
      "header: is a header with another meaning",
    ],
    [
      "a header of culvert's own",
      { header: "Culvert-Identity" },
      "header: is a header of culvert's own",
    ],
    [
      "a header name with an underscore",
      { header: "Cf_Access" },
      "header: must be the name of a header, such as Cf-Access-Jwt-Assertion",
    ],
    [
      "the reserved name",
      { name: "caller-jwt" },
      'name: must be another than "caller-jwt", which is the issuer of --caller-jwt-issuer',
    ],
  ] as const
) {
  Deno.test(`providers: ${what} is refused`, () => {
    assert.equal(issueOf(providerSchema, { ...access, ...change }), fault);
  });
}

Deno.test("providers: twins are refused", () => {
  const provider = providerSchema.parse(access);
  assert.equal(
    faultOf(() => checkProviders([provider, provider], "Services")),
    'Services, providers: entry 2 ("access"): has the name of another provider',
  );
});

Deno.test("providers: a service of a header's provider must name its audience", () => {
  const provider = providerSchema.parse(access);
  assert.match(
    faultOf(() => checkAudience('service "x"', provider, undefined, "Services")),
    /^Services: service "x": needs audience: /,
  );
  assert.equal(faultOf(() => checkAudience("x", provider, "32eafc", "Services")), "it was taken");
  assert.match(faultOf(() => checkAudience("x", undefined, "32eafc", "Services")), /audience/);
});
