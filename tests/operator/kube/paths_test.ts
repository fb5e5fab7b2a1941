/** Several Services at one hostname, with a real API server, relay and agent. */
import assert from "node:assert/strict";
import { eventually } from "../../support/deadline.ts";
import { namespace, OperatorWorld, patienceMs, tunnelBindings, tunnels } from "./cluster.ts";
import { kubeTest } from "./own_kube.ts";

function backend(name: string) {
  return Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => new Response(`${name} ${new URL(request.url).pathname}`),
  );
}

kubeTest(
  "Services share a hostname by path, and agents go on while paths come and go",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await using web = backend("web");
    await using api = backend("api");
    await using hook = backend("hook");
    await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.condition(tunnels, "main", "Ready", "Ready");
    const annotations = { "culvert.dev/tunnel": "main", "culvert.dev/hostname": "app.example.com" };
    await world.putService("web", web.addr.port, annotations);
    await world.condition(tunnelBindings, "service-web", "Ready", "Ready");
    const ask = async (path: string) => {
      const { status, text } = await world.web("app.example.com", path);
      return status === 200 ? text : String(status);
    };
    assert.equal(await ask("/api/x"), "web /api/x");
    const agents = [world.agentPids(), await world.podUids()];

    const toApi = { ...annotations, "culvert.dev/path": "/api" };
    await world.putService("api", api.addr.port, toApi);
    await world.condition(tunnelBindings, "service-api", "Ready", "Ready");
    await world.putService("hook", hook.addr.port);
    const binding = await world.client.apply(tunnelBindings, {
      metadata: { name: "hook", namespace },
      spec: {
        tunnelRef: { name: "main" },
        routes: [{
          name: "hook",
          hostnames: ["app.example.com"],
          path: { type: "Exact", value: "/api/hook" },
          backend: { service: { name: "hook", port: "http" } },
        }],
      },
    });
    await world.condition(tunnelBindings, "hook", "Ready", "Ready");
    const expected = {
      "/": "web /",
      "/apis": "web /apis",
      "/api": "api /api",
      "/api/x": "api /api/x",
      "/api/hook": "hook /api/hook",
      "/api/hook/": "api /api/hook/",
      "/api/..%2Fadmin": "404",
      "/%61pi": "404",
    };
    for (const [path, answer] of Object.entries(expected)) {
      assert.equal(
        await ask(path),
        answer,
        path,
      );
    }

    await world.client.delete(tunnelBindings, { name: "hook", namespace }, binding.metadata.uid!);
    await eventually(
      async () => await ask("/api/hook") === "api /api/hook",
      "the hook",
      patienceMs,
    );
    // The oldest one's binding, which has the service, goes: the others stay at the hostname.
    await world.putService("web", web.addr.port);
    await eventually(
      async () => await ask("/") === "404" && await ask("/api") === "api /api",
      "the hostname to be the other Service's",
      patienceMs,
    );
    await world.condition(tunnelBindings, "service-api", "Ready", "Ready");
    assert.deepEqual([world.agentPids(), await world.podUids()], agents, "the same agents");
  },
);
