import assert from "node:assert/strict";
import fc from "fast-check";
import { domainOf } from "../../lib/policies/email.ts";
import { Policy } from "../../lib/policies/policy.ts";
import { usernameOf } from "../../lib/policies/claims.ts";
import type { ClaimNames } from "../../lib/domain/provider.ts";
import { oidcNames, person } from "./support.ts";

const example = await Policy.from({ name: "x", any: [{ emailDomain: "Example.com" }] }, "corp");

function letsIn(claims: Record<string, unknown>, names?: ClaimNames): boolean {
  return example.allows(person(claims, names));
}

for (
  const [email, isIn] of [
    ["user@example.com", true],
    ["user@EXAMPLE.com", true],
    ["user@evil.com@example.com", false],
    ["user@example.com@evil.com", false],
    ["user@example.com.evil", false],
    ["user@evil-example.com", false],
    ["user@sub.example.com", false],
    ["@example.com", false],
    ["user@example.com ", false],
    ["user@example.com\n", false],
    ['"user@evil.com"@example.com', false],
    ["<user@evil.com> @example.com", false],
    ["user@example.com.", false],
    ["user@exa\u{212a}mple.com", false],
    ["user@\u{ff45}xample.com", false],
    [["user@example.com"], false],
    [{ toString: () => "user@example.com" }, false],
  ] as const
) {
  Deno.test(`a rule for example.com ${isIn ? "lets in" : "refuses"} ${JSON.stringify(email)}`, () => {
    assert.equal(letsIn({ email, email_verified: true }), isIn);
  });
}

Deno.test("an e-mail address counts only when the provider says that it is verified", () => {
  const email = "user@example.com";
  for (const email_verified of [false, "true", 1, null, undefined]) {
    assert.equal(letsIn({ email, email_verified }), false, String(email_verified));
  }
  assert.equal(letsIn({ email }), false);
});

Deno.test("the same holds for rules about the claim email itself", async () => {
  const policy = await Policy.from({
    name: "x",
    any: [{ claim: "email", value: "ann@example.com" }],
  }, "corp");
  const email = "ann@example.com";
  assert.equal(policy.allows(person({ email })), false);
  assert.equal(policy.allows(person({ email, email_verified: true })), true);
});

Deno.test("an access proxy's e-mail address counts unless its token says that it is not verified", () => {
  const names: ClaimNames = { ...oidcNames, verifiedEmail: "unlessDenied" };
  const email = "user@example.com";
  assert.equal(letsIn({ email }, names), true);
  assert.equal(letsIn({ email, email_verified: true }, names), true);
  for (const email_verified of [false, "true", null]) {
    assert.equal(letsIn({ email, email_verified }, names), false, String(email_verified));
  }
});

Deno.test("another claim can say that an e-mail address is verified", () => {
  const names: ClaimNames = { ...oidcNames, verifiedEmail: { claim: "xms_edov" } };
  const email = "user@example.com";
  assert.equal(letsIn({ email, xms_edov: true }, names), true);
  assert.equal(letsIn({ email, email_verified: true }, names), false);
});

Deno.test("the first claim that is there names somebody, and an unverified address nobody", () => {
  const names: ClaimNames = { ...oidcNames, username: ["email", "common_name"] };
  assert.equal(
    usernameOf({ email: "a@b.c", email_verified: true, common_name: "x" }, names),
    "a@b.c",
  );
  assert.equal(usernameOf({ email: "", common_name: "ci" }, names), "ci");
  assert.equal(usernameOf({ common_name: "ci" }, names), "ci");
  assert.deepEqual(usernameOf({ email: "a@b.c", common_name: "ci" }, names), {
    fault: "the e-mail address is not verified",
  });
  assert.deepEqual(usernameOf({ email: ["a@b.c"] }, names), {
    fault: "claim email is not a string",
  });
  assert.deepEqual(usernameOf({}, names), {
    fault: "none of these claims is there: email, common_name",
  });
});

Deno.test("a domain is told only of texts with one @ whose rest is that domain", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.string(), (before, after) => {
    const text = `${before}@${after}`;
    const domain = domainOf(text);
    if (domain === undefined) return;
    assert.equal(text.split("@").length, 2);
    assert.equal(domain, after.toLowerCase());
  }));
});
