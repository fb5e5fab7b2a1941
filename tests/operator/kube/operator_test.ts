/** The operator, the relay and agents as programs, with a real API server. */
import assert from "node:assert/strict";
import { eventually } from "../../support/deadline.ts";
import { secrets, services } from "../../../lib/kube/resources.ts";
import {
  accessPolicies,
  adminToken,
  namespace,
  OperatorWorld,
  patienceMs,
  tunnelBindings,
  tunnels,
} from "./cluster.ts";
import { kubeTest } from "./own_kube.ts";

kubeTest(
  "a Service with annotations answers at its hostname, and everything goes with its Tunnel",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await using backend = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      (request) => new Response(`backend ${request.headers.get("host")}`),
    );
    await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.condition(tunnels, "main", "Ready", "Ready");
    const [pid] = world.agentPids();
    const uids = await world.podUids();

    await world.putService("web", backend.addr.port, {
      "culvert.dev/tunnel": "main",
      "culvert.dev/hostname": "web.example.com",
    });
    await world.condition(tunnelBindings, "service-web", "Ready", "Ready");
    assert.deepEqual(await world.web("web.example.com"), {
      status: 200,
      text: "backend web.example.com",
    });
    assert.deepEqual([world.agentPids()[0], await world.podUids()], [pid, uids], "the same agents");

    const policy = { metadata: { name: "few", namespace } };
    const targetRefs = [{ name: "service-web" }];
    const { metadata } = await world.client.apply(accessPolicies, {
      ...policy,
      spec: { targetRefs, any: [{ address: "203.0.113.0/24" }] },
    });
    const answers = (status: number) =>
      eventually(
        async () => (await world.web("web.example.com")).status === status,
        `status ${status}`,
        patienceMs,
      );
    await answers(403);
    await world.client.delete(accessPolicies, policy.metadata, metadata.uid!);
    await answers(200);

    const service = await world.client.get(services, { namespace, name: "web" });
    assert.equal(service.metadata.finalizers, undefined);
    await world.client.merge(services, { namespace, name: "web" }, {
      metadata: { annotations: { "culvert.dev/tunnel": null } },
    });
    await eventually(
      async () => (await world.web("web.example.com")).status === 421,
      "the hostname to be gone",
      patienceMs,
    );

    const tunnel = await world.client.get(tunnels, { namespace, name: "main" });
    await world.client.delete(tunnels, { namespace, name: "main" }, tunnel.metadata.uid!);
    await eventually(
      async () => await world.client.find(tunnels, { namespace, name: "main" }) === undefined,
      "the Tunnel to be gone",
      patienceMs,
    );
    assert.equal((await world.admin("clusters/apps-main")).status, 404);
    assert.equal(
      await world.owned(),
      "",
      "nothing is left to a garbage collector, which runs nowhere",
    );
    assert.doesNotMatch(
      await world.metrics(),
      /kube_requests_total.*code="403"/,
      "the chart's rights are enough",
    );
  },
);

kubeTest("no object, log line or metric holds a token, whatever happens", async (kube) => {
  await using world = await OperatorWorld.start(kube);
  const operator = await world.startOperator();
  world.startKubelet();
  await world.putTunnel();
  await world.putService("web", 80);
  const binding = (name: string, port: number) =>
    world.client.apply(tunnelBindings, {
      metadata: { name, namespace },
      spec: {
        tunnelRef: { name: "main" },
        routes: [{
          name: "main",
          hostnames: [`${name}.example.com`],
          backend: { service: { name: "web", port } },
        }],
      },
    });
  await binding("good", 80);
  await binding("bad", 81);
  await world.condition(tunnelBindings, "good", "Ready", "Ready");
  await world.condition(tunnelBindings, "bad", "Ready", "BackendNotFound");
  const secret = await world.client.get(secrets, { namespace, name: "main-agent-token" });
  const agentToken = atob((secret["data"] as { token: string }).token);
  const objects = await kube.everything();
  const metrics = await world.metrics();
  await world.operator!.stop();
  const text = JSON.stringify(objects) + metrics + operator.logText();
  for (const token of [adminToken, agentToken]) {
    assert.equal(text.includes(token) || text.includes(btoa(token)), false);
  }
});
