/** Agents' NetworkPolicy as the real API server takes and keeps it. */
import assert from "node:assert/strict";
import { deployments, networkPolicies } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { allowsTo } from "../../support/network_policy_verdicts.ts";
import { namespace, OperatorWorld, patienceMs, tunnelBindings, tunnels } from "./cluster.ts";
import { kubeTest } from "./own_kube.ts";

const at = { namespace, name: "main-agent" };

/** A Tunnel with a policy, and with one more rule of its own. */
function agent(rule: unknown, image = "culvert-agent:1"): Record<string, unknown> {
  return { agent: { replicas: 1, image, networkPolicy: { enabled: true, egress: [rule] } } };
}

kubeTest(
  "the API server takes the agents' NetworkPolicy, a wrong rule is told, and nothing is written twice",
  async (kube) => {
    await kube.startAudit();
    await using world = await OperatorWorld.start(kube);
    await world.startOperator();
    await world.putService("web", 80);
    await world.client.apply(tunnelBindings, {
      metadata: { name: "web", namespace },
      spec: {
        tunnelRef: { name: "main" },
        routes: [{
          name: "main",
          hostnames: ["web.example.com"],
          backend: { service: { name: "web", port: "http" } },
        }],
      },
    });

    await world.putTunnel(agent({ ports: [{ port: 99_999 }] }));
    await world.condition(tunnelBindings, "web", "Accepted", "Accepted");
    await world.condition(tunnels, "main", "AgentAvailable", "Invalid");
    const { status } = await world.client.get(tunnels, { namespace, name: "main" }) as unknown as {
      status: { conditions: { type: string; message: string }[] };
    };
    const { message } = status.conditions.find(({ type }) => type === "AgentAvailable")!;
    assert.match(message, /NetworkPolicy.*99999.*between 1 and 65535/);

    // What the API server adds to the rule and leaves out of it is no difference.
    const rule = { to: [], ports: [{ port: 3128 }] };
    await world.putTunnel(agent(rule));
    await world.replicas(1);
    const policy = await world.client.get(networkPolicies, at);
    const web = { ip: "10.1.0.1", namespace, labels: { app: "web" } };
    assert.ok(allowsTo(policy, web, 80) && allowsTo(policy, web, 3128));
    assert.equal(allowsTo(policy, { ...web, labels: {} }, 80), false);

    await world.putTunnel(agent(rule, "culvert-agent:2"));
    await eventually(
      async () =>
        JSON.stringify(await world.client.get(deployments, at)).includes("culvert-agent:2"),
      "the new image",
      patienceMs,
    );
    const writes = (await kube.audit()).filter(({ objectRef, verb, responseStatus }) =>
      objectRef?.resource === "networkpolicies" && verb === "patch" &&
      responseStatus!.code < 300
    );
    assert.equal(writes.length, 1);

    await world.putTunnel({ agent: { replicas: 1 } });
    await eventually(
      async () => await world.client.find(networkPolicies, at) === undefined,
      "the policy to go",
      patienceMs,
    );
  },
);
