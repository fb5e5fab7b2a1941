import assert from "node:assert/strict";
import { createLocalJWKSet, type CryptoKey, SignJWT } from "jose";
import fc from "fast-check";
import { Impersonator, ProofError } from "../../lib/agent/impersonator.ts";
import { impersonationDemands } from "../../lib/config/entries/identity.ts";
import { field } from "../../lib/http1/head.ts";
import { makeKey } from "../callers/issuer.ts";

const key = await makeKey("one");
const other = await makeKey("one");
const find = createLocalJWKSet({ keys: [key.publicJwk as never] });
const demands = {
  ...{ proof: "assertion", issuer: "login.example.com", audience: ["dash.example.com"] },
  ...{ keysFile: "keys.json", prefix: "corp:", groups: ["ops", "viewers"] },
};

function impersonator(change: Record<string, unknown> = {}): Impersonator {
  return new Impersonator(impersonationDemands.parse({ ...demands, ...change }), {
    find,
    nowMs: Date.now,
  });
}

function sign(
  claims: Record<string, unknown>,
  { privateKey = key.privateKey, aud = "dash.example.com", exp = "60s" } = {},
): Promise<string> {
  return new SignJWT({ iss: "login.example.com", sub: "7335", sid: "s1", ...claims })
    .setProtectedHeader({ alg: "ES256", kid: "one" }).setAudience(aud).setExpirationTime(exp)
    .sign(privateKey as CryptoKey);
}

const ann = { impersonate: { user: "corp:ann", groups: ["ops"] } };

async function lines(
  agent: Impersonator,
  fields: [string, string][],
): Promise<string[]> {
  const head = {
    ...{ method: "GET", target: "/", minor: 1 },
    fields: fields.map(([name, value]) => field(name, value)),
  };
  return (await agent.fieldsFor(head)).map(({ name, value }) => `${name}: ${value}`);
}

Deno.test("the agent impersonates whom an assertion names, and the target does not see the assertion", async () => {
  const fields: [string, string][] = [
    ["Accept", "*/*"],
    ["Culvert-Identity", await sign(ann)],
    ["Impersonate-User", "admin"],
    ["Impersonate_Group", "system:masters"],
    ["X-Remote-User", "admin"],
  ];
  assert.deepEqual(await lines(impersonator(), fields), [
    "Accept: */*",
    "Impersonate-User: corp:ann",
    "Impersonate-Group: ops",
    "Impersonate-Extra-culvert.dev%2Fsession: s1",
  ]);
});

Deno.test("the agent writes names as the API server reads them", async () => {
  const jwt = await sign({ impersonate: { user: "corp:zoë", groups: [] } });
  const [user] = await lines(impersonator(), [["Culvert-Identity", jwt]]);
  assert.equal(user, "Impersonate-User: corp:zo\u00c3\u00ab");
});

Deno.test("the agent impersonates nobody without a proof that counts, inside its own bounds", async (t) => {
  const jwt = await sign(ann);
  const user = (user: unknown, groups: unknown = []) => sign({ impersonate: { user, groups } });
  const cases: [string, [string, string][], RegExp][] = [
    ["no proof", [], /no Culvert-Identity/],
    ["two", [["Culvert-Identity", jwt], ["Culvert-Identity", jwt]], /more than one/],
    ["no JWT", [["Culvert-Identity", "ann"]], /not a JWT/],
    ["under a folded name", [["Culvert_Identity", jwt]], /no Culvert-Identity/],
    ["expired", [["Culvert-Identity", await sign(ann, { exp: "-31s" })]], /expired/],
    ["for another host", [["Culvert-Identity", await sign(ann, { aud: "x" })]], /aud is "x"/],
    ["of another key", [
      ["Culvert-Identity", await sign(ann, { privateKey: other.privateKey })],
    ], /signature/],
    ["of another issuer", [["Culvert-Identity", await sign({ ...ann, iss: "y" })]], /iss is "y"/],
    ["without a user", [["Culvert-Identity", await sign({})]], /names no user/],
    ["a user outside the prefix", [["Culvert-Identity", await user("admin")]], /prefix/],
    ["the prefix alone", [["Culvert-Identity", await user("corp:")]], /prefix/],
    ["a group outside the list", [["Culvert-Identity", await user("corp:a", ["root"])]], /"root"/],
    ["system:masters", [
      ["Culvert-Identity", await user("corp:a", ["system:masters"])],
    ], /"system:"/],
    ["groups that are no list", [["Culvert-Identity", await user("corp:a", "ops")]], /names no/],
    ["a user with a line end", [["Culvert-Identity", await user("corp:a\r\nX: y")]], /names no/],
  ];
  for (const [what, fields, fault] of cases) {
    await t.step(what, async () => {
      await assert.rejects(lines(impersonator(), fields), (error) => {
        assert.ok(error instanceof ProofError);
        assert.match(error.message, fault);
        assert.ok(!error.message.includes(jwt));
        return true;
      });
    });
  }
  await t.step("a system user, whatever the prefix", async () => {
    const fields: [string, string][] = [["Culvert-Identity", await user("system:admin")]];
    await assert.rejects(lines(impersonator({ prefix: "" }), fields), /"system:"/);
  });
});

Deno.test("with the provider's JWT, a relay cannot have the agent impersonate somebody who has not signed in", async () => {
  const agent = impersonator({ proof: "provider", username: "email" });
  const jwt = await sign({ email: "ann@example.com", email_verified: true });
  assert.deepEqual(await lines(agent, [["Culvert-Proof", jwt], ["Culvert-Groups", "ops"]]), [
    "Impersonate-User: corp:ann@example.com",
    "Impersonate-Group: ops",
    "Impersonate-Extra-culvert.dev%2Fsession: s1",
  ]);
  const forged = await sign({ impersonate: { user: "corp:bob", groups: ["ops"] } });
  const cases: [string, string][][] = [
    [["Culvert-Identity", forged], ["Culvert-Groups", ""]],
    [["Culvert-Proof", forged], ["Culvert-Groups", ""]],
    [["Culvert-Proof", jwt]],
    [["Culvert-Proof", jwt], ["Culvert-Groups", "root"]],
    [["Culvert-Proof", jwt], ["Culvert-Groups", "%"]],
    [
      ["Culvert-Proof", await sign({ email: "bob@example.com", email_verified: true }, other)],
      ["Culvert-Groups", ""],
    ],
    [
      ["Culvert-Proof", await sign({ email: "b@c.d", email_verified: false })],
      ["Culvert-Groups", ""],
    ],
  ];
  for (const fields of cases) {
    await assert.rejects(lines(agent, fields), ProofError, JSON.stringify(fields));
  }
  const mixed = await lines(agent, [
    ["Culvert-Identity", forged],
    ["Culvert-Proof", jwt],
    ["Culvert-Groups", ""],
  ]);
  assert.equal(mixed[0], "Impersonate-User: corp:ann@example.com");
});

Deno.test("an e-mail address in the provider's JWT names somebody only if it is verified, or taken to be", async () => {
  const groups: [string, string] = ["Culvert-Groups", ""];
  const proofOf = async (claims: Record<string, unknown>): Promise<[string, string]> => [
    "Culvert-Proof",
    await sign({ email: "ann@example.com", ...claims }),
  ];
  const strict = impersonator({ proof: "provider", username: "email" });
  for (const claims of [{}, { email_verified: "true" }, { email_verified: false }]) {
    await assert.rejects(
      lines(strict, [await proofOf(claims), groups]),
      /names no person: the e-mail address is not verified/,
      JSON.stringify(claims),
    );
  }
  const trusting = impersonator({ proof: "provider", username: "email", verifiedEmail: "always" });
  const [user] = await lines(trusting, [await proofOf({}), groups]);
  assert.equal(user, "Impersonate-User: corp:ann@example.com");
  const other = impersonator({ proof: "provider", username: "email", verifiedEmail: "xms_edov" });
  const [named] = await lines(other, [await proofOf({ xms_edov: true }), groups]);
  assert.equal(named, "Impersonate-User: corp:ann@example.com");
  assert.throws(() => impersonator({ verifiedEmail: "always" }), /verifiedEmail/);
});

Deno.test("whatever stands in the place of a proof, the agent refuses it and throws nothing else", async () => {
  const agent = impersonator();
  await fc.assert(fc.asyncProperty(fc.string(), fc.string(), async (one, two) => {
    for (
      const value of [
        one,
        `${one}.${two}.x`,
        btoa(encodeURI(one)) + "." + btoa(encodeURI(two)) + ".",
      ]
    ) {
      await assert.rejects(lines(agent, [["Culvert-Identity", value]]), ProofError);
    }
  }));
});
