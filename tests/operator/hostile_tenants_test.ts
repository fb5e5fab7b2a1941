/** What somebody gets who may create our objects, Services and Secrets in one namespace of a cluster. */
import assert from "node:assert/strict";
import { secrets, services } from "../../lib/kube/resources.ts";
import { tunnelBindings } from "../../lib/operator/api/crds.ts";
import { Cluster, route } from "./harness.ts";

/** A tenant in the namespace `infra` with a Tunnel of its own at the relay that everybody has. */
function withTenant(token: string, cluster = new Cluster()): Cluster {
  cluster.kube.put(secrets, {
    metadata: { name: "relay-api", namespace: "infra" },
    data: { token: btoa(token) },
  });
  cluster.kube.put(services, {
    metadata: { name: "web", namespace: "infra" },
    spec: { ports: [{ port: 80 }] },
  });
  cluster.putTunnel({}, "theirs", "infra");
  return cluster;
}

Deno.test("nobody keeps a hostname from others by asking for it where the relay refuses it", async (t) => {
  for (
    const [what, token, reason] of [
      ["without a token", "wrong", "TunnelNotRegistered"],
      ["with a token for other hostnames", "token-of-infra", "HostnameNotPermitted"],
    ] as const
  ) {
    await t.step(what, async () => {
      const cluster = withTenant(token);
      cluster.relay.tokens.set("token-of-infra", { prefixes: ["infra-"], suffixes: [".test"] });
      const asked = [route("main", "shop.example.com")];
      cluster.putBinding("squat", asked, { name: "theirs" }, "infra");
      await using _ = cluster.start();
      await cluster.condition(tunnelBindings, "squat", "Programmed", reason, "infra");
      cluster.putTunnel();
      cluster.putBinding("shop", asked);
      await cluster.ready(tunnelBindings, "shop");
      assert.equal(cluster.relay.services.size, 1);
    });
  }
});

Deno.test("of two tunnels at one relay, the one that the relay knows has the hostname until it goes", async () => {
  const cluster = withTenant("admin-token");
  cluster.putTunnel();
  const asked = [route("main", "shop.example.com")];
  cluster.putBinding("shop", asked);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.putBinding("shop", asked, { name: "theirs" }, "infra");
  await cluster.condition(tunnelBindings, "shop", "Programmed", "Conflict", "infra");
  assert.equal(cluster.relay.services.size, 1);
  cluster.kube.remove(tunnelBindings, "apps", "shop");
  await cluster.ready(tunnelBindings, "shop", "infra");
});
