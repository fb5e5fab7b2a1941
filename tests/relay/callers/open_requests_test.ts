import assert from "node:assert/strict";
import type { Caller } from "../../../lib/relay/callers/caller.ts";
import { Callers } from "../../../lib/relay/callers/callers.ts";
import { OpenRequests } from "../../../lib/relay/callers/open_requests.ts";
import { anyName } from "../../../lib/domain/name_patterns.ts";
import { field } from "../../../lib/http1/head.ts";

const certificate = { names: ["argocd"], expiresMs: Infinity };
const peer = { address: "192.0.2.1", isTls: true, certificate };

Deno.test("OpenRequests leaves alone whom no list can change", () => {
  const open = new OpenRequests(() => 0);
  const caller: Caller = { kind: "network", name: "network", clusters: anyName };
  open.add({ caller, cluster: "a", revoke: () => assert.fail("revoked") });
  open.review();
  assert.equal(open.size, 0);
});

Deno.test("OpenRequests: a certificate that a new list does not name loses what it has begun, once", async () => {
  const rule = { name: "argocd", clusters: ["a"] };
  const callers = await Callers.create({ mode: "known", certificates: [rule] });
  const caller = callers.identify({ head: { fields: [] }, peer }) as Caller;
  let revoked = 0;
  callers.open.add({ caller, cluster: "a", revoke: () => revoked++ });
  callers.replaceCertificates([rule]);
  assert.equal(revoked, 0);
  callers.replaceCertificates([{ ...rule, clusters: ["b"] }]);
  callers.replaceCertificates([]);
  assert.equal(revoked, 1);
  assert.equal(callers.open.size, 0);
});

Deno.test("OpenRequests: a token that gets an end ends then, whatever the clock did before", async () => {
  const clock = { ms: 1_000_000, nowMs: () => clock.ms, monotonicMs: () => 0 };
  const token = { name: "one", token: "token-number-one", clusters: ["a"] };
  const callers = await Callers.create({ mode: "known", tokens: [token] }, { clock });
  const head = { fields: [field("Authorization", `Bearer ${token.token}`)] };
  const caller = await callers.identify({ head, peer }) as Caller;
  let revoked = 0;
  callers.open.add({ caller, cluster: "a", revoke: () => revoked++ });
  await callers.replaceTokens([{ ...token, expiresMs: clock.ms + 5_000 }]);
  clock.ms += 4_999;
  callers.open.expire();
  assert.equal(revoked, 0);
  clock.ms += 1;
  callers.open.expire();
  assert.equal(revoked, 1);
  // Nobody is left, so no timer is either.
  callers.open.expire();
});

Deno.test("OpenRequests does not begin what was withdrawn since its caller was identified", async () => {
  const token = { name: "one", token: "token-number-one", clusters: ["a"] };
  const callers = await Callers.create({ mode: "known", tokens: [token] });
  const head = { fields: [field("Authorization", `Bearer ${token.token}`)] };
  const caller = await callers.identify({ head, peer }) as Caller;
  const request = { caller, cluster: "a", revoke: () => assert.fail("revoked") };
  const entry = callers.open.add(request);
  assert.ok(entry !== undefined && entry !== "revoked");
  callers.open.remove(entry);
  await callers.replaceTokens([{ ...token, clusters: ["b"] }]);
  assert.equal(callers.open.add(request), "revoked");
  await callers.replaceTokens([]);
  assert.equal(callers.open.add({ ...request, cluster: "b" }), "revoked");
  assert.equal(callers.open.size, 0);
});

Deno.test("OpenRequests does not begin what a token asks for that has expired since", async () => {
  const clock = { ms: 1_000_000, nowMs: () => clock.ms, monotonicMs: () => 0 };
  const token = { name: "one", token: "token-number-one", clusters: ["a"], expiresMs: 1_000_001 };
  const callers = await Callers.create({ mode: "known", tokens: [token] }, { clock });
  const head = { fields: [field("Authorization", `Bearer ${token.token}`)] };
  const caller = await callers.identify({ head, peer }) as Caller;
  clock.ms++;
  assert.equal(callers.open.add({ caller, cluster: "a", revoke() {} }), "revoked");
});
