/** `--health-addr` of the relay: probes for a kubelet, which has no client certificate. */
import { equal, match } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import { Authority } from "../support/certificates.ts";

const CLUSTER = "probed";
const TOKEN = "health-listener-token-0123456789";

/** Where the relay's third listener is. */
async function healthUrl(relay: RunningRelay): Promise<string> {
  const line = await relay.waitForLog(
    ({ message, listener }) => message === "Listening" && listener === "health",
    { what: "the health listener" },
  );
  equal(line.tls, "off");
  return `http://${String(line.address)}`;
}

async function statusOf(url: string): Promise<number> {
  const response = await fetch(url);
  await response.text();
  return response.status;
}

Deno.test("relay --health-addr answers probes without TLS where the others demand certificates", async () => {
  const folder = await Deno.makeTempDir({ prefix: "culvert-health-" });
  try {
    const authority = await Authority.create(folder, "own");
    const server = await authority.issue("server", "IP:127.0.0.1");
    const agentPair = await authority.issue("agent", "DNS:agent");
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: TOKEN, targetAddr: "127.0.0.1:9" }],
      args: [
        ...["-tls-cert", server.certPath, "-tls-key", server.keyPath],
        ...["-tls-client-ca", authority.caPath, "-health-addr", "127.0.0.1:0"],
      ],
    });
    const url = await healthUrl(relay);
    equal(await statusOf(`${url}/healthz`), 200);
    equal(await statusOf(`${url}/readyz`), 503);
    equal(await statusOf(`${url}/readyz?exclude=agents`), 200);
    equal(await statusOf(`${url}/tunnel/${CLUSTER}/`), 404);
    equal(await statusOf(`${url}/connect`), 404);

    await using _agent = await startAgent({
      relayUrl: `wss://${relay.publicAddress}/connect`,
      token: TOKEN,
      target: "127.0.0.1:9",
      args: [
        ...["-server-ca-cert", authority.caPath],
        ...["-client-cert", agentPair.certPath, "-client-key", agentPair.keyPath],
      ],
    });
    await relay.waitForAgent(CLUSTER);
    equal(await statusOf(`${url}/readyz`), 200);
    match(await (await fetch(`${url}/metrics`)).text(), /^agents_connected 1$/m);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("relay --health-addr: a relay that finishes open requests is alive and not ready", async () => {
  const { promise: finish, resolve: letFinish } = Promise.withResolvers<void>();
  const { promise: asked, resolve: wasAsked } = Promise.withResolvers<void>();
  await using target = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async () => {
    wasAsked();
    await finish;
    return new Response("whole");
  });
  const address = `127.0.0.1:${target.addr.port}`;
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: TOKEN, targetAddr: address }],
    args: ["-health-addr", "127.0.0.1:0"],
  });
  await using _agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: address,
    args: ["-max-retry", "200ms"],
  });
  await relay.waitForAgent(CLUSTER);
  const url = await healthUrl(relay);
  const answer = fetch(`${relay.tunnelUrl(CLUSTER)}/slow`);
  await within(asked, "the request to reach the target");
  const stopped = relay.stop();
  await eventually(
    async () => await statusOf(`${url}/readyz?exclude=agents`) === 503,
    "the relay to say that it is not ready",
  );
  equal(await statusOf(`${url}/healthz`), 200);
  letFinish();
  equal(await (await within(answer, "the answer")).text(), "whole");
  equal(await within(stopped, "the relay to stop", 30_000), 0);
});

Deno.test("callers that need a credential don't read the metrics where there is --health-addr", async () => {
  const entry = { name: "one", token: "token-of-a-caller-0123456789", clusters: ["other"] };
  const args = ["-caller-tokens", JSON.stringify([entry])];
  const clusters = [{ id: CLUSTER, token: TOKEN, targetAddr: "127.0.0.1:9" }];
  await using relay = await startRelay({
    clusters,
    args: [...args, "-health-addr", "127.0.0.1:0"],
  });
  equal(await statusOf(`http://${relay.internalAddress}/metrics`), 404);
  equal(await statusOf(`http://${relay.internalAddress}/healthz`), 200);
  equal(await statusOf(`${await healthUrl(relay)}/metrics`), 200);
  // Without that listener they are nowhere else, as in argocd-cluster-proxy.
  await using alone = await startRelay({ clusters, args });
  equal(await statusOf(`http://${alone.internalAddress}/metrics`), 200);
});
