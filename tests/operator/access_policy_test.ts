import assert from "node:assert/strict";
import { accessPolicies, tunnelBindings } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, route } from "./harness.ts";

function putPolicy(cluster: Cluster, name: string, any: readonly unknown[], more = {}): void {
  cluster.kube.put(accessPolicies, {
    metadata: { name, namespace: "apps" },
    spec: { targetRefs: [{ name: "shop", ...more }], any },
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
  await eventually(
    () => cluster.kube.read(tunnelBindings, "apps", "shop") === undefined,
    "the binding to go",
  );
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
