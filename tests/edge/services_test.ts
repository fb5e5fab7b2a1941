/** Services at hostnames on the one port that a platform gives. */
import { equal, match, ok } from "node:assert/strict";
import { get, textOf } from "../services/setup.ts";
import { startAgent } from "../support/programs.ts";
import { fieldValues, statusOf } from "../support/raw_http.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { agentToken, clusterId, homes, isAgentConnected, settingsFor } from "./homes.ts";

const mirror = answering(({ bytes }) => {
  const head = new TextDecoder().decode(bytes);
  return `HTTP/1.1 200 OK\r\nServer: mirror\r\nContent-Length: ${head.length}\r\n\r\n${head}`;
});

for (const home of homes) {
  Deno.test(`${home.name}: services answer at their hostnames, other hosts as before`, async () => {
    await using target = await startRawTarget(mirror);
    const service = (name: string, policy: string, more = {}) => ({
      name,
      hostnames: [`${name}.test`],
      cluster: clusterId,
      target: target.address,
      policy,
      ...more,
    });
    const services = {
      policies: [{ name: "nobody", any: [{ address: "192.0.2.1" }] }, {
        name: "reads",
        any: ["0.0.0.0/0", "::/0"].map((address) => ({
          ...{ address, methods: ["GET"], paths: ["/api/"] },
        })),
      }],
      services: [
        service("app", "public", { headers: { set: { "X-Frame-Options": "DENY" } } }),
        service("closed", "nobody"),
        service("reads", "reads"),
        { ...service("ghost", "public"), cluster: "ghost" },
      ],
    };
    const settings = { ...settingsFor(target.address), SERVICES: JSON.stringify(services) };
    await using relay = await home.start(settings);
    await using _agent = await startAgent({
      relayUrl: `ws://${relay.address}/connect`,
      token: agentToken,
      target: target.address,
    });
    await relay.program.waitForLog(isAgentConnected);
    const answer = await get(relay.address, "APP.test", "/a/b?c=%20", [
      "Accept-Encoding: identity",
    ]);
    equal(statusOf(answer), 200);
    equal(fieldValues(answer, "x-frame-options")[0], "DENY");
    match(textOf(answer), /^GET \/a\/b\?c=%20 HTTP\/1\.1\r\n/);
    match(textOf(answer), /^host: app\.test\r$/im);
    match(textOf(answer), /^X-Forwarded-Host: app\.test\r$/im);
    equal(statusOf(await get(relay.address, "app.test", "/.culvert/x")), 404);
    // Below a service's host everything is the app's.
    equal(statusOf(await get(relay.address, "app.test", "/tunnel/edge/x")), 200);
    equal(statusOf(await get(relay.address, "app.test", "/connect")), 200);
    ok([401, 403].includes(statusOf(await get(relay.address, "closed.test"))));
    const reads = async (path: string, method = "GET") =>
      statusOf(await get(relay.address, "reads.test", path, [], method));
    equal(await reads("/api/x"), 200);
    equal(await reads("/api/x", "DELETE"), 403);
    equal(await reads("/x"), 403);
    equal(await reads("/api%2Fx"), 400);
    equal(statusOf(await get(relay.address, "ghost.test")), 502);
    equal(statusOf(await get(relay.address, "other.test")), 404);
    equal(statusOf(await get(relay.address, "other.test", "/tunnel/edge/x")), 401);
    equal(statusOf(await get(relay.address, "other.test", "/healthz")), 200);
  });
}
