import assert from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { clustersFor, metric, tokenOf } from "./relays.ts";
import { relayLogUpToNow } from "../isolation/tunnel.ts";

Deno.test("an agent's connections stand side by side on one relay", async () => {
  await using target = await startRawTarget(
    answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
  );
  await using relay = await startRelay({ clusters: clustersFor({ one: target.address }) });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: tokenOf("one"),
    target: target.address,
    args: ["--connections", "3"],
  });
  await eventually(
    async () => await metric(relay, "agents_connected") === 3,
    () => `three sessions\n${relay.program.logText()}`,
  );
  const connected = await relay.waitForLogs(3, ({ message }) => message === "Agent connected");
  const up = await agent.waitForLogs(3, ({ message }) => message === "Connected to relay");
  assert.equal(new Set(connected.map(({ instance }) => instance)).size, 1);
  assert.deepEqual(up.map(({ connection }) => connection).sort(), [0, 1, 2]);
  const response = await fetch(`${relay.tunnelUrl("one")}/`);
  assert.equal(await response.text(), "ok");
  const log = await relayLogUpToNow(relay);
  const ended = log.filter(({ message }) => message === "Agent disconnected");
  assert.deepEqual(ended, [], "no connection replaces another");
});
