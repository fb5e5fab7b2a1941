/** Policies whose rules have tokens of their own, by digest. */
import assert from "node:assert/strict";
import type { PolicyEntry } from "../../../lib/domain/policy.ts";
import { field } from "../../../lib/http1/head.ts";
import { systemClock } from "../../../lib/jwt/clock.ts";
import { Denial, type Identity } from "../../../lib/relay/callers/caller.ts";
import { Callers } from "../../../lib/relay/callers/callers.ts";
import { digestToken, hashToken } from "../../../lib/relay/digests.ts";
import { askedBy } from "../../../lib/relay/people/asked_request.ts";
import { Authorizer } from "../../../lib/relay/people/authorizer.ts";
import { People } from "../../../lib/relay/people/people.ts";
import { tokenDigest } from "../../../lib/runtime/node/token_digest.ts";

const own = "token-of-the-policy-itself";
const tokens = [{ name: "ci", token: "token-of-the-relays-ci", clusters: ["none"] }];
const tokenSha256 = await hashToken(own);
const policies: readonly PolicyEntry[] = [
  { name: "app", any: [{ token: "ci", tokenSha256, methods: ["GET"] }, { token: "deploy*" }] },
  { name: "relays", any: [{ token: "ci" }, { token: "app*" }] },
  {
    name: "both",
    all: [{ any: [{ token: "one", tokenSha256 }] }, {
      any: [{ token: "two", tokenSha256, methods: ["GET"] }, { token: "ci" }],
    }],
  },
];

async function authorizerWith(digest: (token: string) => Uint8Array | Promise<Uint8Array>) {
  const callers = await Callers.create({ mode: "known", tokens }, { digest });
  const people = await People.create({ providers: [], policies }, {
    clock: systemClock,
    ...{ digest, changed() {}, fetch: (url, init) => fetch(url, init) },
    keysEvents: { fetched() {}, failed() {} },
  });
  const authorizer = new Authorizer(callers, people);
  const ask = async (policy: string, token: string, method = "GET"): Promise<Identity> => {
    const head = {
      ...{ method, target: "/", minor: 1 as const },
      fields: [field("Authorization", `Bearer ${token}`)],
    };
    const requirements = { policy };
    return await authorizer.identify({
      ...{ requirements, currentRequirements: () => requirements, authorization: "culvert" },
      asked: askedBy(head, "/"),
    }, { head, peer: { address: "192.0.2.1", isTls: true } });
  };
  return { ask, people };
}

function told(identity: Identity): string {
  return identity instanceof Denial
    ? `${identity.answer.status} ${identity.reason}`
    : `${identity.kind} ${identity.name}`;
}

for (const [where, digest] of [["at once", tokenDigest], ["at the edge", digestToken]] as const) {
  Deno.test(`a policy's own token opens what the policy is for, and nothing else, ${where}`, async () => {
    const { ask } = await authorizerWith(digest);
    const [relays] = tokens;
    const cases = [
      ["app", own, "GET", "token app/ci"],
      ["app", own, "POST", "403 policy"],
      ["app", `${own}x`, "GET", "401 unknown_token"],
      // Its digest is no token.
      ["app", tokenSha256, "GET", "401 unknown_token"],
      // A token of the relay's of the same name is another one.
      ["app", relays!.token, "GET", "403 policy"],
      ["relays", own, "GET", "401 unknown_token"],
      ["relays", relays!.token, "GET", "token ci"],
      // Of two names, the last one counts; each of its rules may be met.
      ["both", own, "GET", "token both/two"],
      ["both", own, "POST", "403 policy"],
    ] as const;
    for (const [policy, token, method, outcome] of cases) {
      const what = `${policy} ${method} ${token}`;
      assert.equal(told(await ask(policy, token, method)), outcome, what);
    }
  });
}

Deno.test("what a policy's own token has begun ends with the rule that has it", async () => {
  const { ask, people } = await authorizerWith(tokenDigest);
  const caller = await ask("app", own);
  assert.ok(!(caller instanceof Denial));
  const isValid = () => caller.grant!.mayReach("any", Date.now());
  assert.equal(isValid(), true);
  const other = await hashToken("another-token");
  await people.replace({
    providers: [],
    policies: [{ name: "app", any: [{ token: "ci", tokenSha256: other }] }],
  });
  assert.equal(isValid(), false);
  assert.equal(told(await ask("app", own)), "401 unknown_token");
  assert.equal(told(await ask("app", "another-token")), "token app/ci");
});
