/** Several relays as programs: each shows the whole picture, and ends what another one has. */
import { deepEqual, equal, match } from "node:assert/strict";
import { startPeer } from "../directory/relays.ts";
import { eventually } from "../support/deadline.ts";
import { addressOf, type RunningRelay, startAgent } from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { adminTokens, agentToken, entryFor, tokenOf } from "./world.ts";

interface AdminRelay {
  readonly relay: RunningRelay;
  // deno-lint-ignore no-explicit-any
  readonly ask: (method: string, path: string, body?: unknown) => Promise<any>;
}

async function start(redis: Redis): Promise<AdminRelay> {
  const relay = await startPeer({
    directory: redis.url,
    targets: {},
    args: ["--admin-addr", "127.0.0.1:0", "--admin-tokens", JSON.stringify(adminTokens)],
  });
  const address = await addressOf(relay, "admin");
  return {
    relay,
    async ask(method, path, body) {
      const response = await fetch(`http://${address}/admin/v1${path}`, {
        method,
        headers: { Authorization: `Bearer ${tokenOf("ops")}` },
        ...body !== undefined && { body: JSON.stringify(body) },
      });
      return { status: response.status, body: await response.json() };
    },
  };
}

Deno.test({
  name: "each relay shows the agents of all, and disconnects one that another relay has",
  ignore: !hasRedis,
  async fn() {
    await using redis = await Redis.start();
    const a = await start(redis);
    await using relayA = a.relay;
    const b = await start(redis);
    await using _relayB = b.relay;
    equal((await a.ask("PUT", "/clusters/dev", entryFor("dev"))).status, 201);
    await using agent = await startAgent({
      relayUrl: relayA.connectUrl,
      token: agentToken("dev"),
      target: "127.0.0.1:1",
      credential: "secret",
    });
    // deno-lint-ignore no-explicit-any
    let sessions: any[] = [];
    await eventually(async () => {
      const { status, body } = await b.ask("GET", "/clusters/dev/sessions");
      sessions = status === 200 ? body.items : [];
      return sessions.length === 1;
    }, "the other relay to show the agent");
    const { body } = await b.ask("GET", "/status");
    equal(body.relays.length, 2);
    equal(sessions[0].relay === body.relays[0].id, false, "the asked relay is the first");
    const ended = await b.ask("DELETE", `/clusters/dev/sessions/${sessions[0].id}`);
    deepEqual([ended.status, ended.body.ended], [200, true]);
    const line = await relayA.waitForLog(({ message }) => message.startsWith("Disconnecting"));
    equal(line.by, "ops");
    const forged = await fetch(`http://${relayA.internalAddress}/.culvert/status`, {
      headers: { "Culvert-Relay-Token": "another-token-0123456789" },
    });
    equal(forged.status, 404);
    await forged.body?.cancel();
    await b.relay.kill();
    await eventually(async () => {
      const { body: { relays } } = await a.ask("GET", "/status");
      return relays.length === 2 && relays[1].fault !== undefined;
    }, "the relay that is gone to be told of");
    const { body: { relays } } = await a.ask("GET", "/status");
    match(relays[1].fault, /^does not answer: /);
    await agent.stop();
  },
});
