/** Tokens of callers that AccessPolicies take from Secrets. */
import assert from "node:assert/strict";
import { accessPolicies, tunnelBindings } from "../../lib/operator/api/crds.ts";
import type { AccessPolicyStatus } from "../../lib/operator/api/access_policy.ts";
import { secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, digest, route, type RunningOperator } from "./harness.ts";

const token = "caller-token-0123456789abcdef";
const next = "next-token-0123456789abcdef";
const staff = { emailDomain: "example.com" };
const nightly = { token: "nightly", tokenRef: { name: "ci" }, methods: ["GET"] };
const label = { "culvert.dev/use": "true" };

function putSecret(
  cluster: Cluster,
  text: string,
  { name = "ci", key = "token", labels = {} } = {},
) {
  const metadata = { name, namespace: "apps", labels: { ...label, ...labels } };
  cluster.kube.put(secrets, { metadata, data: { [key]: btoa(text) } });
}

function putPolicy(cluster: Cluster, any: readonly unknown[], name = "staff"): void {
  cluster.kube.put(accessPolicies, {
    metadata: { name, namespace: "apps" },
    spec: { targetRefs: [{ name: "shop" }], any },
  });
}

function published(): Cluster {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  return cluster;
}

function rulesAt({ relay }: Cluster): unknown {
  const [policy] = relay.policies.values();
  return policy?.["any"];
}

async function rulesAre(cluster: Cluster, expected: unknown): Promise<void> {
  await eventually(
    () => JSON.stringify(rulesAt(cluster)) === JSON.stringify(expected),
    () => `the rules ${JSON.stringify(expected)}; they are ${JSON.stringify(rulesAt(cluster))}`,
  );
}

function ruleOf(text: string, { token = "nightly", methods = ["GET"] } = {}) {
  return { token, methods, tokenSha256: digest(text) };
}

/** Everything outside the Secrets: the cluster's objects, what the relay was sent and has, the log. */
function isTold(cluster: Cluster, { log }: RunningOperator, text: string): boolean {
  const objects = (cluster.kube.state() as [string, unknown][])
    .filter(([key]) => !key.startsWith("secrets "));
  const { calls, services, policies } = cluster.relay;
  const said = JSON.stringify([objects, calls, [...services], [...policies], log.lines]);
  return [text, btoa(text)].some((it) => said.includes(it));
}

Deno.test("a caller's token in a Secret becomes a digest at the relay, and a new one takes its place", async () => {
  const cluster = published();
  putSecret(cluster, token);
  putPolicy(cluster, [staff, nightly]);
  await using running = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  await cluster.ready(accessPolicies, "staff");
  await rulesAre(cluster, [staff, ruleOf(token)]);
  putSecret(cluster, next);
  await rulesAre(cluster, [staff, ruleOf(next)]);
  await cluster.ready(accessPolicies, "staff");
  for (const text of [token, next]) assert.equal(isTold(cluster, running, text), false);
  cluster.kube.remove(accessPolicies, "apps", "staff");
  await eventually(() => cluster.relay.policies.size === 0, "the policy to go");
});

Deno.test("two tokens of a policy are good at a time, so that one can be replaced", async () => {
  const cluster = published();
  putSecret(cluster, token);
  const later = { token: "later", tokenRef: { name: "ci", key: "next" } };
  putPolicy(cluster, [nightly, later]);
  await using _ = cluster.start();
  await cluster.condition(accessPolicies, "staff", "ResolvedRefs", "TokenNotFound");
  await rulesAre(cluster, [ruleOf(token)]);
  cluster.kube.put(secrets, {
    metadata: { name: "ci", namespace: "apps", labels: label },
    data: { token: btoa(token), next: btoa(next) },
  });
  await cluster.ready(accessPolicies, "staff");
  await rulesAre(cluster, [ruleOf(token), { token: "later", tokenSha256: digest(next) }]);
});

Deno.test("a caller's token that can't be had lets nobody in, and the policy's other callers go on", async (t) => {
  const cluster = published();
  putPolicy(cluster, [staff, nightly]);
  await using running = cluster.start();
  const cases: [string, () => void, string, RegExp][] = [
    [
      "no Secret",
      () => cluster.kube.remove(secrets, "apps", "ci"),
      "TokenNotFound",
      /There is no Secret apps\/ci with the key token$/,
    ],
    [
      "no label",
      () => putSecret(cluster, token, { labels: { "culvert.dev/use": "" } }),
      "RefNotPermitted",
      /Secret apps\/ci needs the label culvert\.dev\/use=true, which lets AccessPolicies use it$/,
    ],
    [
      "another key",
      () => putSecret(cluster, token, { key: "password" }),
      "TokenNotFound",
      /There is no Secret apps\/ci with the key token$/,
    ],
    ["nothing in it", () => putSecret(cluster, ""), "TokenInvalid", /the token is empty$/],
    ["an empty line", () => putSecret(cluster, "\n"), "TokenInvalid", /the token is empty$/],
    [
      "a line break at its end",
      () => putSecret(cluster, `${token}\n`),
      "TokenInvalid",
      /the token ends with a line break; leave it out$/,
    ],
    [
      "a space in front",
      () => putSecret(cluster, ` ${token}`),
      "TokenInvalid",
      /the token has white space around it; leave it out$/,
    ],
    [
      "a scheme",
      () => putSecret(cluster, `Bearer ${token}`),
      "TokenInvalid",
      /begins with "Bearer"; give the token alone$/,
    ],
    [
      "a token that can be guessed",
      () => putSecret(cluster, "secret"),
      "TokenInvalid",
      /fewer than 16/,
    ],
    ["too much", () => putSecret(cluster, token.repeat(200)), "TokenInvalid", /more than 4096/],
  ];
  for (const [name, put, reason, expected] of cases) {
    await t.step(name, async () => {
      putSecret(cluster, token);
      await rulesAre(cluster, [staff, ruleOf(token)]);
      put();
      await rulesAre(cluster, [staff]);
      const { status, message } = await cluster.condition(
        ...[accessPolicies, "staff", "ResolvedRefs", reason] as const,
      );
      assert.equal(status, "False");
      assert.match(message, /^Token nightly: nobody gets in by it: /);
      assert.match(message, expected);
      await cluster.condition(accessPolicies, "staff", "Ready", reason);
      await cluster.ready(tunnelBindings, "shop");
      assert.equal(isTold(cluster, running, token), false);
    });
  }
});

Deno.test("a route of whose AccessPolicy no rule is left is off the relay until there is one", async () => {
  const cluster = published();
  putPolicy(cluster, [nightly]);
  await using _ = cluster.start();
  const { message } = await cluster.condition(
    ...[tunnelBindings, "shop", "Programmed", "AccessPolicyInvalid"] as const,
  );
  assert.equal(
    message,
    "AccessPolicy staff: no rule is left; Token nightly: nobody gets in by it: " +
      "There is no Secret apps/ci with the key token",
  );
  assert.equal(cluster.relay.services.size, 0);
  putSecret(cluster, token);
  await cluster.ready(tunnelBindings, "shop");
  await rulesAre(cluster, [ruleOf(token)]);
  // What others ask for still has to be met.
  putPolicy(cluster, [staff], "others");
  await eventually(() => [...cluster.relay.policies.values()][0]?.["all"] !== undefined, "both");
  cluster.kube.remove(secrets, "apps", "ci");
  await cluster.condition(tunnelBindings, "shop", "Programmed", "AccessPolicyInvalid");
  await eventually(() => cluster.relay.services.size === 0, "the service to be off");
});

Deno.test("a caller's token stays while the API server can't tell it, and the policy's other rules change", async () => {
  const cluster = published();
  putSecret(cluster, token);
  putPolicy(cluster, [staff, nightly]);
  {
    await using _ = cluster.start();
    await cluster.ready(tunnelBindings, "shop");
    await cluster.ready(accessPolicies, "staff");
    await rulesAre(cluster, [staff, ruleOf(token)]);
  }
  const failure = { kind: "Status", code: 500, reason: "InternalError", message: "no key for it" };
  cluster.kube.intercept = ({ path }) =>
    path.endsWith("/secrets/ci") || path.endsWith("/secrets/new")
      ? Response.json(failure, { status: 500 })
      : undefined;
  // The other Secret has never been read.
  const other = { token: "other", tokenRef: { name: "new" } };
  putPolicy(cluster, [nightly, other, { address: "10.0.0.0/8" }]);
  await using _ = cluster.start();
  await rulesAre(cluster, [ruleOf(token), { address: "10.0.0.0/8" }]);
  const { status, message } = await cluster.condition(
    ...[accessPolicies, "staff", "ResolvedRefs", "TokenUnreadable"] as const,
  );
  assert.equal(status, "Unknown");
  assert.match(
    message,
    /^Token nightly: it stays as it was: Secret apps\/ci can't be read: .*no key for it.*; Token other: nobody gets in by it: Secret apps\/new can't/,
  );
  const { tokens } = cluster.kube.read(
    accessPolicies,
    "apps",
    "staff",
  )!["status"] as AccessPolicyStatus;
  assert.deepEqual(tokens, [{ name: "ci", key: "token", tokenSha256: digest(token) }]);
  cluster.kube.intercept = undefined;
  putSecret(cluster, next, { name: "new" });
  await cluster.ready(accessPolicies, "staff");
  await rulesAre(cluster, [
    ...[ruleOf(token), { token: "other", tokenSha256: digest(next) }, { address: "10.0.0.0/8" }],
  ]);
});

Deno.test("a reference with something that this operator does not know lets nobody in", async () => {
  const cluster = published();
  putSecret(cluster, token);
  const tokenRef = { name: "ci", namespace: "infra" };
  putPolicy(cluster, [staff, { token: "nightly", tokenRef }]);
  await using _ = cluster.start();
  const { message } = await cluster.condition(
    ...[accessPolicies, "staff", "Accepted", "Invalid"] as const,
  );
  assert.match(message, /^any: rule 2 unknown key "tokenRef"/);
  assert.equal(cluster.relay.services.size, 0);
});
