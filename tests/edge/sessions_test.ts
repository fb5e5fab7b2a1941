/** Agents of a relay at the edge that come, go and lose their relay, on every platform. */
import assert from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { homes, isAgentConnected, startEdgeTunnel } from "./homes.ts";

/** A target that says hello, or begins an answer that does not end. */
function startTarget(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    if (!request.url.endsWith("/endless")) return new Response("hello");
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode("begun")),
    });
    return new Response(body, { headers: { "Content-Length": "1000" } });
  });
}

for (const home of homes) {
  Deno.test(`${home.name}: a second agent takes over when the first is gone`, async () => {
    await using target = startTarget();
    await using tunnel = await startEdgeTunnel(home, `127.0.0.1:${target.addr.port}`);
    await tunnel.startAgent();
    await tunnel.agent.kill();
    await eventually(async () => {
      const response = await tunnel.fetch("/");
      return await response.text() === "hello" && response.status === 200;
    }, "an answer of the second agent");
  });

  Deno.test(`${home.name}: what holds the sessions is restarted`, async () => {
    await using target = startTarget();
    await using tunnel = await startEdgeTunnel(home, `127.0.0.1:${target.addr.port}`);
    const response = await tunnel.fetch("/endless");
    const reader = response.body!.getReader();
    await within(reader.read(), "the beginning");
    const { program } = tunnel.relay;
    const restart = () => tunnel.relay.restart();
    if (home.hidesCuts) await program.logAfter(restart, isAgentConnected);
    else await restart();
    // What was under way fails, and never looks whole.
    await assert.rejects(
      within(reader.read(), "the end"),
      (error: Error) => error.name !== "DeadlineError",
    );
    await tunnel.relay.program.waitForLog(isAgentConnected);
    const again = await tunnel.fetch("/");
    assert.deepEqual([again.status, await again.text()], [200, "hello"]);
  });

  Deno.test(`${home.name}: a relay without its settings says which is missing`, async (t) => {
    const cluster = { id: "c", token: "settings-token-0123456789", targetAddr: "127.0.0.1:1" };
    const CLUSTERS = JSON.stringify([cluster]);
    const cases: [string, Record<string, string>, RegExp][] = [
      ["nothing", {}, /^Setting CLUSTERS is missing/],
      ["no callers", { CLUSTERS }, /^Setting CALLER_TOKENS is missing.*CALLER_JWT_ISSUER/],
      ["no JSON", { CLUSTERS: "clusters.json" }, /^Setting CLUSTERS: it is not JSON/],
      ["half a JWT", { CLUSTERS, CALLER_JWT_ISSUER: "i" }, /CALLER_JWKS_URL/],
      ["no number", { CLUSTERS, CALLER_TOKENS: "[]", MAX_STREAMS: "many" }, /MAX_STREAMS must be/],
    ];
    for (const [name, settings, message] of cases) {
      await t.step(name, async () => {
        await using relay = await home.start(settings);
        for (const path of ["/tunnel/c/", "/connect", "/healthz"]) {
          const response = await fetch(`http://${relay.address}${path}`);
          assert.equal(response.status, 503);
          const { error } = await response.json();
          assert.equal(error.code, "not_configured");
          assert.match(error.message, message);
          assert.ok(!error.message.includes(cluster.token));
        }
      });
    }
  });
}
