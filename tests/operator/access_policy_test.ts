import assert from "node:assert/strict";
import { accessPolicies, tunnelBindings } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, route } from "./harness.ts";

function putPolicy(
  cluster: Cluster,
  name: string,
  any: readonly unknown[],
  more = {},
  others = {},
): void {
  cluster.kube.put(accessPolicies, {
    metadata: { name, namespace: "apps" },
    spec: { targetRefs: [{ name: "shop", ...more }], ...any.length > 0 && { any }, ...others },
  });
}

/** The entry of the binding's first service. */
function service(cluster: Cluster): Record<string, unknown> {
  return [...cluster.relay.services.values()][0] ?? {};
}

async function policyIs(cluster: Cluster, expected: unknown): Promise<void> {
  const find = () => {
    const policy = cluster.relay.policies.get(String(service(cluster)["policy"]));
    const { owner: _, ...rules } = policy ?? {};
    return policy && rules;
  };
  await eventually(
    () => JSON.stringify(find()) === JSON.stringify(expected),
    () => `the policy to be ${JSON.stringify(expected)}; it is ${JSON.stringify(find())}`,
  );
}

Deno.test("an AccessPolicy becomes the policy of its binding's services, and goes without a gap", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  const staff = [{ emailDomain: "example.com" }];
  putPolicy(cluster, "staff", staff);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  await policyIs(cluster, { any: staff });
  assert.match(String(service(cluster)["policy"]), /^ops-[0-9a-f]{16}$/);
  const few = [{ address: "10.0.0.0/8" }];
  putPolicy(cluster, "few", few);
  await policyIs(cluster, { all: [{ any: staff }, { any: few }] });
  for (const name of ["staff", "few"]) cluster.kube.remove(accessPolicies, "apps", name);
  await eventually(() => service(cluster)["policy"] === "staff", "the tunnel's default policy");
  await eventually(() => cluster.relay.policies.size === 0, "the policy to go");
  assert.equal(cluster.relay.services.size, 1);
  assert.equal(
    cluster.relay.calls.some((call) => call.startsWith("DELETE /admin/v1/services")),
    false,
  );
});

Deno.test("an AccessPolicy of one route leaves the others alone, and needs no other policy", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ defaultPolicy: undefined });
  cluster.putBinding("shop", [
    route("main", "shop.example.com"),
    route("open", "open.example.com", { policy: "public" }),
  ]);
  putPolicy(cluster, "staff", [{ token: "ci" }], { route: "main" });
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  await cluster.ready(accessPolicies, "staff");
  const policies = [...cluster.relay.services.values()].map(({ policy }) => String(policy)).sort();
  assert.match(policies[0]!, /^ops-/);
  assert.equal(policies[1], "public");
});

Deno.test("an AccessPolicy of a binding that is not there says so, and heals", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  putPolicy(cluster, "staff", [{ token: "ci" }]);
  await using _ = cluster.start();
  await cluster.condition(accessPolicies, "staff", "Accepted", "TargetNotFound");
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await cluster.ready(accessPolicies, "staff");
});

Deno.test("a deleted binding takes the policies of its services with it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  putPolicy(cluster, "staff", [{ token: "ci" }]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await cluster.gone(tunnelBindings, "shop");
  assert.equal(cluster.relay.services.size + cluster.relay.policies.size, 0);
});

Deno.test("a token whose name can't begin a policy's is told as such, and nothing is published", async () => {
  const cluster = new Cluster();
  cluster.relay.tokens.set("admin-token", { prefixes: [""], suffixes: [""], name: "Team_A" });
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  putPolicy(cluster, "staff", [{ token: "ci" }]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "Programmed", "PolicyNameImpossible");
  assert.equal(cluster.relay.services.size, 0);
});

interface Ancestor {
  readonly ancestorRef: Record<string, unknown>;
  readonly conditions: readonly {
    readonly type: string;
    readonly status: string;
    reason: string;
  }[];
}

function ancestors(cluster: Cluster, name: string): unknown {
  const status = cluster.kube.read(accessPolicies, "apps", name)?.["status"];
  const { ancestors = [] } = (status ?? {}) as { ancestors?: Ancestor[] };
  return ancestors.map(({ ancestorRef: { name, route }, conditions }) => [
    ...[name, route],
    ...conditions.map(({ type, status, reason }) => `${type} ${status} ${reason}`),
  ]);
}

Deno.test("the status tells of each target whether it is there", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  cluster.kube.put(accessPolicies, {
    metadata: { name: "staff", namespace: "apps" },
    spec: {
      targetRefs: [{ name: "shop", route: "main" }, { name: "shop", route: "old" }, { name: "db" }],
      any: [{ token: "ci" }],
    },
  });
  await using _ = cluster.start();
  const { message } = await cluster.condition(
    ...[accessPolicies, "staff", "Accepted", "TargetNotFound"] as const,
  );
  assert.equal(
    message,
    "TunnelBinding shop has no route old; There is no TunnelBinding db in namespace apps",
  );
  assert.deepEqual(ancestors(cluster, "staff"), [
    ["shop", "main", "Accepted True Accepted"],
    ["shop", "old", "Accepted False TargetNotFound"],
    ["db", undefined, "Accepted False TargetNotFound"],
  ]);
  await policyIs(cluster, { any: [{ token: "ci" }] });
});

Deno.test("the lowest rate of all AccessPolicies is the service's, and one without rules keeps the route's policy", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  putPolicy(cluster, "slow", [], {}, { requestsPerSecond: 5 });
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(service(cluster)["policy"], "staff");
  assert.deepEqual(service(cluster)["limits"], { requestsPerSecond: 5 });
  putPolicy(cluster, "slower", [{ token: "ci" }], {}, { requestsPerSecond: 2 });
  await eventually(
    () => JSON.stringify(service(cluster)["limits"]) === '{"requestsPerSecond":2}',
    "the lower rate",
  );
  await policyIs(cluster, { any: [{ token: "ci" }] });
  for (const name of ["slow", "slower"]) cluster.kube.remove(accessPolicies, "apps", name);
  await eventually(() => service(cluster)["limits"] === undefined, "no rate");
  assert.equal(service(cluster)["policy"], "staff");
});

Deno.test("a route is off the relay while an AccessPolicy of it can't be enforced", async (t) => {
  const cluster = new Cluster();
  cluster.putTunnel();
  cluster.putBinding("shop", [route("main", "shop.example.com", { policy: "public" })]);
  await using _ = cluster.start();
  const cases: [string, unknown, string, string, RegExp][] = [
    [
      "an address that is none",
      { any: [{ token: "ci" }, { address: "10.0.0.0/99" }] },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: any: rule 2, address must be an address or a range/,
    ],
    [
      "a rule that this operator does not know",
      { any: [{ moonPhase: "full" }], others: [] },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: any: rule 1 must be an object with one of/,
    ],
    [
      "a rule with a limit that this operator does not know",
      { any: [{ token: "ci", hours: "9-17" }] },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: any: rule 1 unknown key "hours"/,
    ],
    [
      "a path that servers read differently",
      { any: [{ token: "ci", paths: ["/api/", "/public/../x"] }] },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: any: rule 1, paths must be a path such as/,
    ],
    [
      "a spec that it can't read",
      { any: "everybody" },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: The spec can't be read/,
    ],
    [
      "a binding and something of a newer CRD",
      { targetRefs: [{ kind: "Moon", name: "full" }, { name: "shop" }], any: [{ token: "ci" }] },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: The spec can't be read/,
    ],
    [
      "a binding with something that it can't read beside its name",
      { targetRefs: [{ name: "shop", route: { port: 1 } }], any: [{ token: "ci" }] },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: The spec can't be read/,
    ],
    [
      "targets that it can't read at all, so that they may be any",
      { targetRefs: [{ kind: "Moon", selector: {} }], any: [{ token: "ci" }] },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: The spec can't be read/,
    ],
    [
      "no targets",
      { targetRefs: undefined, targets: ["shop"], any: [{ token: "ci" }] },
      "AccessPolicyInvalid",
      "Invalid",
      /^AccessPolicy staff: The spec can't be read/,
    ],
    [
      "a provider that the relay does not have",
      { any: [{ claim: "groups", value: "ops", provider: "corp" }] },
      "PolicyRefused",
      "Accepted",
      /there is no provider "corp"/,
    ],
  ];
  for (const [name, spec, reason, accepted, expected] of cases) {
    await t.step(name, async () => {
      await cluster.ready(tunnelBindings, "shop");
      await eventually(() => cluster.relay.services.size === 1, "the service");
      cluster.kube.put(accessPolicies, {
        metadata: { name: "staff", namespace: "apps" },
        spec: { targetRefs: [{ name: "shop" }], ...spec as object },
      });
      const { message } = await cluster.condition(
        ...[tunnelBindings, "shop", "Programmed", reason] as const,
      );
      assert.match(message, expected);
      await eventually(() => cluster.relay.services.size === 0, "the service to be off");
      await cluster.condition(accessPolicies, "staff", "Accepted", accepted);
      cluster.kube.remove(accessPolicies, "apps", "staff");
    });
  }
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(service(cluster)["policy"], "public");
});

Deno.test("an AccessPolicy's methods, paths and digests become the relay's, and are none for a TCP route", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const web = route("main", "shop.example.com");
  cluster.putBinding("shop", [web]);
  const any = [{ token: "ci", tokenSha256: "0a".repeat(32) }, {
    emailDomain: "example.com",
    methods: ["GET"],
    paths: ["/api/"],
  }];
  putPolicy(cluster, "staff", any);
  await using _ = cluster.start();
  await cluster.ready(accessPolicies, "staff");
  await policyIs(cluster, { any });
  cluster.putBinding("shop", [web, route("db", "db.example.com", { protocol: "tcp" })]);
  const text = "a rule has methods, and route db is TCP, which has none";
  const { message } = await cluster.condition(
    ...[tunnelBindings, "shop", "Programmed", "AccessPolicyInvalid"] as const,
  );
  assert.match(message, new RegExp(`AccessPolicy staff: ${text}`));
  const accepted = await cluster.condition(accessPolicies, "staff", "Accepted", "Invalid");
  assert.equal(accepted.message, `TunnelBinding shop: ${text}`);
  putPolicy(cluster, "staff", any, { route: "main" });
  await cluster.ready(accessPolicies, "staff");
  await eventually(() => cluster.relay.services.size === 2, "both services");
});

Deno.test("an AccessPolicy of a tunnel whose relay has its own configuration says that it is not enforced", async () => {
  const cluster = new Cluster();
  const relay = { url: "wss://relay.test/connect", registration: { secret: { name: "entry" } } };
  cluster.putTunnel({ relay });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  putPolicy(cluster, "staff", [{ token: "ci" }]);
  await using _ = cluster.start();
  await cluster.condition(accessPolicies, "staff", "Accepted", "NotEnforced");
});

Deno.test("a route whose new policy the relay refuses is not published under the one before", async () => {
  const cluster = new Cluster();
  cluster.putTunnel();
  const publish = (policy: string) =>
    cluster.putBinding("shop", [route("main", "shop.example.com", { policy })]);
  publish("public");
  let known = ["public"];
  await using _ = cluster.start({
    relay: (fetch) => (url, init, tls) => {
      const isPut = init.method === "PUT" && url.includes("/services/");
      if (!isPut || known.includes(JSON.parse(init.body!).policy)) return fetch(url, init, tls);
      const error = { code: "invalid", message: "there is no such policy" };
      return Promise.resolve(Response.json({ error }, { status: 422 }));
    },
  });
  await cluster.ready(tunnelBindings, "shop");
  publish("staf");
  await cluster.condition(tunnelBindings, "shop", "Programmed", "Refused");
  assert.equal(cluster.relay.services.size, 0);
  publish("public");
  await cluster.ready(tunnelBindings, "shop");
  putPolicy(cluster, "staff", [{ token: "ci" }]);
  await cluster.condition(tunnelBindings, "shop", "Programmed", "Refused");
  assert.equal(cluster.relay.services.size, 0);
  known = ["staff"];
  publish("staff");
  cluster.kube.remove(accessPolicies, "apps", "staff");
  await cluster.ready(tunnelBindings, "shop");
  assert.equal(service(cluster)["policy"], "staff");
});
