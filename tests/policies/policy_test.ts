import assert from "node:assert/strict";
import fc from "fast-check";
import type { RuleEntry } from "../../lib/domain/policy.ts";
import { MetRules, TokenClaims } from "../../lib/policies/caller_attributes.ts";
import { Policy } from "../../lib/policies/policy.ts";
import { describeRule } from "../../lib/policies/rule.ts";
import { nobody, oidcNames, person } from "./support.ts";

function policyOf(...any: RuleEntry[]): Promise<Policy> {
  return Policy.from({ name: "platform", any }, "corp");
}

Deno.test("a policy lets nobody in who meets none of its rules", async () => {
  const policy = await policyOf({ claim: "groups", value: "platform" }, { token: "ci" });
  assert.equal(policy.allows(nobody), false);
  assert.equal(policy.allows(person({ groups: ["other"] })), false);
  assert.equal(policy.allows({ ...nobody, token: "other" }), false);
  assert.equal(policy.allows(person({ groups: ["other", "platform"] })), true);
  assert.equal(policy.allows({ ...nobody, token: "ci" }), true);
});

Deno.test("the public policy lets everybody in", () => {
  assert.equal(Policy.public.allows(nobody), true);
});

Deno.test("all of a set's rules must be met, and of one within it only one", async () => {
  const policy = await Policy.from({
    name: "staff",
    all: [{ address: "10.0.0.0/8" }, {
      any: [{ certificate: "laptop-*" }, { claim: ["realm", "roles"], value: "admin" }],
    }],
  }, "corp");
  const inside = { ...nobody, address: "10.1.2.3" };
  assert.equal(policy.allows(inside), false);
  assert.equal(policy.allows({ ...nobody, certificateNames: ["laptop-7"] }), false);
  assert.equal(policy.allows({ ...inside, certificateNames: ["x", "laptop-7"] }), true);
  const { verifiedClaims } = person({ realm: { roles: ["admin"] } });
  assert.equal(policy.allows({ ...inside, verifiedClaims }), true);
});

Deno.test("whether somebody could be let in is asked with rules of some kinds taken to be met", async () => {
  const policy = await Policy.from({
    name: "both",
    all: [{ claim: "groups", value: "ops" }, { certificate: "laptop-*" }, {
      address: "10.0.0.0/8",
    }],
  }, "corp");
  const names = { username: ["sub"], groups: "groups", verifiedEmail: "always" } as const;
  const ops = new TokenClaims("corp", { groups: ["ops"] }, names);
  const facts = { ...nobody, verifiedClaims: ops };
  assert.ok(!policy.allows(facts));
  const connection = new Set(["certificate", "address"]);
  assert.ok(policy.couldAllow(facts, ({ kind }) => connection.has(kind)));
  assert.ok(!policy.couldAllow(facts, ({ kind }) => kind === "certificate"));
  const stranger = { ...facts, verifiedClaims: undefined };
  assert.ok(!policy.couldAllow(stranger, ({ kind }) => connection.has(kind)));
});

Deno.test("claims of one provider meet no rule about another", async () => {
  const rule = { claim: "groups", value: "platform" };
  const policy = await Policy.from({ name: "x", any: [{ ...rule, provider: "other" }] }, "corp");
  const claims = { groups: ["platform"] };
  assert.equal(policy.allows(person(claims)), false);
  const verifiedClaims = new TokenClaims("other", claims, oidcNames);
  assert.equal(policy.allows({ ...nobody, verifiedClaims }), true);
});

Deno.test("a session meets the rules that its claims met, and no rule that has changed since", async () => {
  const before = await policyOf({ claim: "groups", value: "a*" }, { emailDomain: "example.com" });
  const attributes = person({ groups: ["alpha", "beta"], email: "x@other.com" });
  const ids = before.personRules.filter((rule) => attributes.verifiedClaims!.meets(rule)).map((
    { id },
  ) => id);
  const session = { ...nobody, verifiedClaims: new MetRules("corp", ids) };
  assert.equal(before.allows(session), true);
  const narrowed = await policyOf({ claim: "groups", value: "alpha-admins" });
  assert.equal(narrowed.allows(session), false);
  const other = await Policy.from({ name: "x", any: [{ claim: "groups", value: "a*" }] }, "new");
  assert.equal(other.allows(session), false);
});

Deno.test("a decision says which rules were met, or which are missing, in words", async () => {
  const policy = await policyOf({ claim: "groups", value: "platform" }, { address: "10.0.0.0/8" });
  const no = policy.decide(nobody);
  assert.ok(!no.isAllowed);
  assert.deepEqual(no.missing.map(describeRule), [
    '"platform" in groups',
    "an address in 10.0.0.0/8",
  ]);
  const yes = policy.decide(person({ groups: "platform" }));
  assert.ok(yes.isAllowed);
  assert.deepEqual(yes.met.map(({ kind }) => kind), ["claim"]);
});

Deno.test("groups that matter are those that met a rule or are asked for, and no others", async () => {
  const policy = await policyOf({ claim: "groups", value: "team-*" });
  const { verifiedClaims } = person({ groups: ["team-a", "staff", "ops", "secret"] });
  const groups = verifiedClaims!.groupsFor(policy.personRules, new Set(["ops", "absent"]));
  assert.deepEqual(groups, ["team-a", "ops"]);
});

for (
  const [how, claims, told] of [
    ["without the claim", {}, false],
    ["with an empty list", { groups: [] }, true],
    ["with Entra's overage claim", { _claim_names: { groups: "src1" } }, false],
    ["with overage beside a part of them", { groups: ["a"], _claim_names: { groups: "s" } }, false],
    ["with Entra's hasgroups", { hasgroups: true }, false],
    ["with overage of another claim", { groups: ["a"], _claim_names: { roles: "s" } }, true],
  ] as const
) {
  Deno.test(`whether groups were told is known ${how}`, () => {
    assert.equal(person(claims).verifiedClaims!.tellsGroups, told);
  });
}

const claimValue = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.array(fc.string()),
  fc.dictionary(fc.string(), fc.string()),
);

Deno.test("whatever a provider writes, a rule is met only by a claim that has its value", async () => {
  const policy = await policyOf({ claim: "groups", value: "platform" });
  fc.assert(fc.property(fc.dictionary(fc.string(), claimValue), claimValue, (claims, groups) => {
    const isMember = [groups].flat().includes("platform");
    assert.equal(policy.allows(person({ ...claims, groups })), isMember);
    assert.equal(policy.allows(person(claims)), [claims.groups].flat().includes("platform"));
  }));
});

Deno.test("names of Object's prototype are no claims", async () => {
  for (const claim of ["constructor", "__proto__", "toString", ["constructor", "name"]]) {
    const policy = await policyOf({ claim, value: "*" });
    assert.equal(policy.allows(person({})), false, String(claim));
  }
});
