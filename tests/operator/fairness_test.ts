/** What one namespace's relays and objects do to the objects of others: nothing. */
import assert from "node:assert/strict";
import { untilAborted } from "../../lib/kube/delay.ts";
import { secrets } from "../../lib/kube/resources.ts";
import { tunnels } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, tunnelSpec } from "./harness.ts";

/** As many as would take all workers, if each could hold one. */
const hanging = 40;

Deno.test("relays that accept requests and never answer hold up their own namespace alone", async () => {
  const cluster = new Cluster();
  cluster.kube.put(secrets, {
    metadata: { name: "relay-api", namespace: "infra" },
    data: { token: btoa("admin-token") },
  });
  const tokenRef = { name: "relay-api", key: "token" };
  for (let number = 0; number < hanging; number++) {
    const registration = { api: { endpoint: `https://hangs-${number}.test:8444`, tokenRef } };
    const relay = { url: "wss://relay.test/connect", registration };
    cluster.putTunnel(tunnelSpec({ relay }), `hangs-${number}`, "infra");
  }
  const released = new AbortController();
  let open = 0;
  let most = 0;
  await using running = cluster.start({
    relay: (fetch) => async (url, init, tls) => {
      if (!url.startsWith("https://hangs-")) return await fetch(url, init, tls);
      most = Math.max(most, ++open);
      // Not even a time limit ends it.
      await untilAborted(released.signal);
      throw new Error("no answer");
    },
  });
  await eventually(() => open > 0, "the first request to a relay that hangs");
  cluster.putTunnel();
  await cluster.ready();
  assert.ok(running.operator.heldBack > 0, "others of the namespace wait");
  assert.ok(most <= 4, `${most} requests hang at once`);
  for (let number = 0; number < hanging; number++) {
    cluster.kube.remove(tunnels, "infra", `hangs-${number}`);
  }
  released.abort();
});
