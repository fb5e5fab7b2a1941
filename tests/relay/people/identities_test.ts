import assert from "node:assert/strict";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import fc from "fast-check";
import { identitySchema } from "../../../lib/config/entries/identity.ts";
import { providerSchema } from "../../../lib/config/entries/providers.ts";
import { anyName } from "../../../lib/domain/name_patterns.ts";
import { type Field, field } from "../../../lib/http1/head.ts";
import type { Peer } from "../../../lib/net/exchange.ts";
import { TokenClaims } from "../../../lib/policies/caller_attributes.ts";
import type { Caller } from "../../../lib/relay/callers/caller.ts";
import {
  assertionReuseMs,
  Assertions,
  maxAssertionLength,
} from "../../../lib/relay/people/assertions.ts";
import {
  type CallerIdentity,
  Identities,
  identityFields,
  type IdentityPlace,
} from "../../../lib/relay/people/identities.ts";
import { People } from "../../../lib/relay/people/people.ts";
import { tokenDigest as digest } from "../../../lib/runtime/node/token_digest.ts";

const peer: Peer = { address: "192.0.2.1", isTls: true };
const provider = providerSchema.parse({
  ...{ name: "corp", kind: "oidc", issuer: "https://idp.example", clientId: "culvert" },
});

class Clock {
  passedMs = 0;
  readonly startMs = Date.now();
  nowMs(): number {
    return this.startMs + this.passedMs;
  }
  monotonicMs(): number {
    return this.passedMs;
  }
}

function personOf(claims: Record<string, unknown>, proof?: string): Caller {
  const username = String(claims.email);
  return {
    ...{ kind: "session", name: username, clusters: anyName } as const,
    person: {
      verifiedClaims: new TokenClaims("corp", claims, provider.claims),
      ...{ issuer: "https://idp.example", subject: "7335", username, sessionId: "s1", proof },
    },
  };
}

const ann = personOf({
  email: "ann@example.com",
  groups: ["platform", "staff", "secret-project"],
}, "x.y.z");
const ci: Caller = { kind: "token", name: "ci", clusters: anyName };

async function setUp(rules: unknown) {
  const clock = new Clock();
  const people = await People.create({
    providers: [provider],
    policies: [{ name: "any", any: [{ claim: "groups", value: "platform" }, { token: "ci" }] }],
  }, {
    ...{ clock, digest, changed() {}, keysEvents: { fetched() {}, failed() {} } },
    fetch: () => Promise.reject(new Error("no network")),
  });
  const assertions = await Assertions.create(undefined, clock);
  const place: IdentityPlace = {
    requirements: { policy: "any", provider: "corp" },
    rules: identitySchema.parse(rules),
    issuer: "login.example.com",
    audience: "dash.example.com",
  };
  const identities = new Identities(people, assertions);
  const of = async (caller: Caller, headers: Record<string, string> = {}) => {
    const fields = Object.entries(headers).map(([name, value]) => field(name, value));
    return await identities.of(caller, { head: { fields }, peer }, place);
  };
  return { clock, assertions, of, identities, place };
}

function told(identity: Awaited<ReturnType<Identities["of"]>>): Record<string, string> {
  assert.ok(!("status" in identity), JSON.stringify(identity));
  return Object.fromEntries(identity.fields.map(({ name, value }) => [name, value]));
}

function codeOf(identity: Awaited<ReturnType<Identities["of"]>>): string {
  return "status" in identity ? `${identity.status} ${identity.code}` : "told";
}

Deno.test("an assertion says who somebody is, verifiably, and of the groups only those that mattered", async () => {
  const { assertions, of } = await setUp({ assertion: true });
  const jwt = told(await of(ann))["Culvert-Identity"]!;
  const keys = createLocalJWKSet(JSON.parse(assertions.jwks));
  const { payload, protectedHeader } = await jwtVerify(jwt, keys, {
    ...{ issuer: "login.example.com", audience: "dash.example.com", algorithms: ["ES256"] },
  });
  const { iat, exp, ...claims } = payload;
  assert.equal(exp! - iat!, 60);
  assert.ok(protectedHeader.kid);
  assert.deepEqual(claims, {
    ...{ iss: "login.example.com", aud: "dash.example.com", sub: "7335", sid: "s1" },
    ...{ username: "ann@example.com", provider: "corp", groups: ["platform"] },
  });
});

Deno.test("published keys hold nothing private", async () => {
  const { assertions } = await setUp({});
  for (const key of JSON.parse(assertions.jwks).keys) {
    assert.deepEqual(Object.keys(key).sort(), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
  }
});

Deno.test("one assertion serves many requests, and has at least half of its time left", async () => {
  const { clock, of } = await setUp({ assertion: true });
  const first = told(await of(ann))["Culvert-Identity"];
  clock.passedMs += assertionReuseMs - 1;
  assert.equal(told(await of(ann))["Culvert-Identity"], first);
  clock.passedMs += 1;
  const second = told(await of(ann))["Culvert-Identity"]!;
  assert.notEqual(second, first);
  const other = personOf({ email: "bob@example.com", groups: ["platform"] });
  assert.equal(decodeJwt(told(await of(other))["Culvert-Identity"]!).username, "bob@example.com");
});

Deno.test("the first of several keys signs, and all are published", async () => {
  const { generateKeyPair, exportJWK } = await import("jose");
  const make = async () =>
    await exportJWK((await generateKeyPair("ES256", { extractable: true })).privateKey);
  const clock = new Clock();
  const keys = [await make(), await make()];
  const assertions = await Assertions.create(keys, clock);
  const published = JSON.parse(assertions.jwks).keys;
  assert.deepEqual(published.map(({ x }: { x: string }) => x), keys.map(({ x }) => x));
  const jwt = await assertions.sign({
    ...{ iss: "a", aud: "b", sub: "c", username: "d", groups: [], sid: "e" },
  });
  assert.equal(decodeProtectedHeader(jwt).kid, published[0].kid);
});

Deno.test("somebody with a thousand groups gets an assertion with those that matter alone", async () => {
  const { of } = await setUp({ assertion: true });
  const groups = Array.from({ length: 1_000 }, (_, index) => `group-${index}`);
  const jwt = told(await of(personOf({ email: "a@b.c", groups: [...groups, "platform"] })));
  assert.ok(jwt["Culvert-Identity"]!.length < 1_024);
});

Deno.test("an assertion that would be too long is an error, never cut short", async () => {
  const many = Object.fromEntries(
    Array.from({ length: 80 }, (_, index) => [`a-rather-long-group-${index}`, []]),
  );
  const { of } = await setUp({ assertion: true, impersonate: { prefix: "corp:", groups: many } });
  const person = personOf({ email: "a@b.c", groups: Object.keys(many) });
  assert.equal(codeOf(await of(person)), "500 identity_too_large");
  assert.ok(maxAssertionLength <= 2_048);
});

Deno.test("plain headers are ASCII: other characters are percent-encoded", async () => {
  const rules = {
    headers: { "X-Forwarded-User": "username", "X-Groups": "groups", "X-Id": "sub" },
  };
  const { of } = await setUp(rules);
  assert.deepEqual(told(await of(ann)), {
    "X-Forwarded-User": "ann@example.com",
    ...{ "X-Groups": "platform", "X-Id": "7335" },
  });
  const zoe = personOf({ email: "zoë 100%", groups: ["platform"] });
  assert.equal(told(await of(zoe))["X-Forwarded-User"], "zo%C3%AB 100%25");
  fc.assert(fc.asyncProperty(fc.string({ unit: "binary" }), async (name) => {
    if (!name.isWellFormed()) return;
    const value = told(await of(personOf({ email: name })))["X-Forwarded-User"]!;
    assert.match(value, /^[\x20-\x7e]*$/);
    assert.equal(decodeURIComponent(value), name);
  }));
});

Deno.test("a token is no person: it is told by what no provider calls anybody", async () => {
  const { of } = await setUp({ assertion: true, headers: { "X-User": "username" } });
  const fields = told(await of(ci));
  assert.equal(fields["X-User"], "token:ci");
  assert.equal(decodeJwt(fields["Culvert-Identity"]!).sub, "token:ci");
});

Deno.test("who has no name is told about to nobody", async () => {
  const { of } = await setUp({ assertion: true, headers: { "X-User": "username" } });
  const network: Caller = { kind: "network", name: "network", clusters: anyName };
  assert.deepEqual(told(await of(network)), {});
});

const map = {
  prefix: "corp:",
  users: { "root@example.com": "corp:admin" },
  groups: { platform: ["ops", "viewers"], staff: ["viewers"] },
  callers: { "token:ci": { groups: ["deployers"] }, "token:bot": { user: "corp:robot" } },
};

async function impersonated(
  caller: Caller,
  headers: Record<string, string> = {},
  change: Record<string, unknown> = {},
): Promise<string> {
  const { of } = await setUp({ impersonate: { ...map, ...change } });
  const identity = await of(caller, headers);
  if ("status" in identity) return `${identity.status} ${identity.code}`;
  const { user, groups } = identity.impersonation!;
  assert.deepEqual(decodeJwt(identity.impersonation!.assertion).impersonate, { user, groups });
  return `${user} ${groups.join(",")}`;
}

Deno.test("callers stand for the users and groups that the map gives them", async () => {
  assert.equal(await impersonated(ann), "corp:ann@example.com ops,viewers");
  const root = personOf({ email: "root@example.com", groups: [] });
  assert.equal(await impersonated(root), "corp:admin ");
  assert.equal(await impersonated(ci), "corp:token:ci deployers");
  assert.equal(await impersonated({ ...ci, name: "bot" }), "corp:robot ");
  assert.equal(await impersonated({ ...ci, name: "other" }), "403 impersonation_refused");
  assert.equal(await impersonated({ ...ci, name: "toString" }), "403 impersonation_refused");
  const network: Caller = { kind: "network", name: "network", clusters: anyName };
  assert.equal(await impersonated(network), "403 impersonation_refused");
});

Deno.test("nobody stands for what Kubernetes itself gives rights to", async () => {
  for (const email of ["system:admin", "system:serviceaccount:kube-system:x"]) {
    const person = personOf({ email, groups: ["platform"] });
    assert.equal(await impersonated(person, {}, { prefix: "" }), "403 impersonation_refused");
    assert.equal(await impersonated(person), `corp:${email} ops,viewers`);
  }
  const masters = personOf({ email: "a@b.c", groups: ["system:masters"] });
  assert.equal(await impersonated(masters), "corp:a@b.c ");
});

for (
  const [what, headers, outcome] of [
    [
      "one's own name",
      { "Impersonate-User": "ann@example.com" },
      "corp:ann@example.com ops,viewers",
    ],
    ["a group of one's own", {
      "Impersonate-User": "corp:ann@example.com",
      "Impersonate-Group": "viewers",
    }, "corp:ann@example.com viewers"],
    ["a group that the map does not give", {
      "Impersonate-User": "ann@example.com",
      "Impersonate-Group": "admins",
    }, "403 impersonation_refused"],
    ["system:masters", {
      "Impersonate-User": "ann@example.com",
      "Impersonate-Group": "system:masters",
    }, "403 impersonation_refused"],
    ["somebody else", { "Impersonate-User": "bob@example.com" }, "403 impersonation_refused"],
    ["a group without a user", { "Impersonate-Group": "viewers" }, "403 impersonation_refused"],
    ["extra fields", {
      "Impersonate-User": "ann@example.com",
      "Impersonate-Extra-scopes": "all",
    }, "403 impersonation_refused"],
    ["another spelling", { Impersonate_User: "ann@example.com" }, "403 impersonation_refused"],
  ] as const
) {
  Deno.test(`kubectl --as for ${what} comes to ${outcome}`, async () => {
    assert.equal(await impersonated(ann, headers), outcome);
  });
}

Deno.test("an agent gets what it verifies: nothing without, the provider's JWT where it wants that", async () => {
  const { of } = await setUp({ impersonate: map });
  const identity = await of(ann) as CallerIdentity;
  const names = (proof: string | undefined) => {
    const fields = identityFields(identity, proof);
    return "status" in fields ? fields.code : (fields as readonly Field[]).map(({ name }) => name);
  };
  assert.deepEqual(names(undefined), "agent_cannot_impersonate");
  assert.deepEqual(names("later"), "agent_cannot_impersonate");
  assert.deepEqual(names("assertion"), ["Culvert-Identity"]);
  assert.deepEqual(names("provider"), ["Culvert-Identity", "Culvert-Proof", "Culvert-Groups"]);
  const without = await of(personOf({ email: "a@b.c", groups: [] })) as CallerIdentity;
  assert.equal((identityFields(without, "provider") as { code: string }).code, "no_proof");
});
