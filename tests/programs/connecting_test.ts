/** How an agent finds its relay: refused, too early, and after either of them was replaced. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { V2 } from "../peers/v2_frame.ts";
import { eventually, untilEqual } from "../support/deadline.ts";
import {
  type ClusterEntry,
  type LogLine,
  type RunningAgent,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { type RawTarget, startRawTarget } from "../support/target.ts";
import { service } from "../isolation/service.ts";
import { TcpProxy } from "../isolation/tcp_proxy.ts";
import { askSmall, assertNoSecrets, CLUSTER, metric, secrets } from "../isolation/tunnel.ts";
import { startLinkRelay } from "./link_relay.ts";

/** An agent that dials a proxy and does not wait for a session. */
async function startLonelyAgent(
  target: RawTarget,
  proxy: TcpProxy,
  maxRetry: string,
  ...args: string[]
): Promise<RunningAgent> {
  return await startAgent({
    relayUrl: `ws://${proxy.address}/connect`,
    token: secrets.token,
    target: target.address,
    credential: secrets.credential,
    waitsForSession: false,
    args: ["-max-retry", maxRetry, ...args],
  });
}

function clustersOf(target: RawTarget, token: string = secrets.token): ClusterEntry[] {
  return [{ id: CLUSTER, token, targetAddr: target.address }];
}

async function readyStatus(agent: RunningAgent): Promise<number> {
  const response = await fetch(`http://${agent.healthAddress}/readyz`);
  await response.text();
  return response.status;
}

Deno.test("an agent with a wrong token says so, tries again slowly and connects once it is right", async () => {
  await using target = await startRawTarget(service);
  await using strict = await startRelay({ clusters: clustersOf(target, "another-token-0123") });
  await using proxy = await TcpProxy.start(strict.publicAddress);
  await using agent = await startLonelyAgent(target, proxy, "1s");
  const refusals = await agent.waitForLogs(3, ({ status }) => status === 401);
  for (const { level, message, retry_in_ms: delayMs } of refusals) {
    equal(level, "error");
    ok(Number(delayMs) >= 500, String(delayMs));
    match(message, /^The relay refused this agent; check --token/);
  }
  for (const [index, { time }] of refusals.slice(1).entries()) {
    const gapMs = Date.parse(String(time)) - Date.parse(String(refusals[index]!.time));
    ok(gapMs >= 450, `a refused agent must wait half of --max-retry at least, not ${gapMs} ms`);
  }
  await strict.waitForLog(({ message }) => message.startsWith("Refused an agent"));
  equal(await readyStatus(agent), 503);

  await using relay = await startRelay({ clusters: clustersOf(target) });
  proxy.upstream = relay.publicAddress;
  await relay.waitForAgent(CLUSTER);
  await askSmall(relay);
  equal(await readyStatus(agent), 200);
  await assertNoSecrets(strict, relay, agent);
});

Deno.test("an agent whose --server has no path connects", async () => {
  await using target = await startRawTarget(service);
  await using relay = await startRelay({ clusters: clustersOf(target) });
  await using agent = await startAgent({
    ...{ relayUrl: `ws://${relay.publicAddress}`, token: secrets.token, target: target.address },
    credential: secrets.credential,
  });
  await askSmall(relay);
  equal(await readyStatus(agent), 200);
});

Deno.test("an agent whose --server leads elsewhere says what it must be", async (t) => {
  await using target = await startRawTarget(service);
  await using relay = await startRelay({ clusters: clustersOf(target) });
  const cases = [
    [`ws://${relay.internalAddress}/connect`, /status 404; --server must lead to .*\/connect$/],
    [`ws://${relay.publicAddress}/elsewhere`, /status 404; --server must lead to .*\/connect$/],
    [`wss://${relay.publicAddress}/connect`, /; the relay has no TLS at that port/],
  ] as const;
  for (const [relayUrl, says] of cases) {
    await t.step(relayUrl.replace(/\d+\.\d+\.\d+\.\d+:\d+/, "RELAY"), async () => {
      await using agent = await startAgent({
        ...{ relayUrl, token: secrets.token, target: target.address },
        credential: secrets.credential,
        waitsForSession: false,
      });
      const line = await agent.waitForLog(({ message }) =>
        message === "Could not connect to relay"
      );
      match(String(line.error), says);
    });
  }
  await relay.waitForLog(({ reason }) => reason === "TLS on a listener for plain HTTP");
});

Deno.test("an agent that is there before its relay connects when that comes, and again after restarts", async () => {
  await using target = await startRawTarget(service);
  await using proxy = await TcpProxy.start();
  await using agent = await startLonelyAgent(target, proxy, "300ms");
  await agent.waitForLog(({ message }) => message === "Could not connect to relay");
  equal(await readyStatus(agent), 503);
  await untilEqual(() => metric(agent.healthAddress, "agent_connected"), 0);

  for (const event of ["first start", "restart", "crash"]) {
    await using relay = await startRelay({ clusters: clustersOf(target) });
    proxy.upstream = relay.publicAddress;
    await relay.waitForAgent(CLUSTER);
    await askSmall(relay);
    equal(await readyStatus(agent), 200);
    if (event === "crash") await relay.kill();
    else equal(await relay.stop(), 0);
    await eventually(async () => await readyStatus(agent) === 503, "the agent to notice");
    await assertNoSecrets(relay);
  }
  ok(await metric(agent.healthAddress, "agent_reconnects_total") >= 3);
  const ends = await agent.waitForLogs(3, ({ message }) => message === "Disconnected from relay");
  // Where the relay was stopped, the agent had been told to go elsewhere.
  deepEqual(ends.map((end) => typeof end.retry_in_ms), ["undefined", "undefined", "number"]);
  await assertNoSecrets(agent);
});

Deno.test("an agent whose relay is away logs one line for each attempt, with the next one's time", async (t) => {
  await using target = await startRawTarget(service);
  await using proxy = await TcpProxy.start();
  const cases = [["info", []], ["debug", ["Connecting to relay"]]] as const;
  for (const [level, more] of cases) {
    await t.step(`at level ${level}`, async () => {
      await using agent = await startLonelyAgent(target, proxy, "100ms", "-log-level", level);
      const failed = await agent.waitForLogs(
        3,
        ({ message }) => message === "Could not connect to relay",
      );
      const log = await agent.logUntil((line) => line === failed[2]);
      const attempts = log.slice(
        log.findIndex(({ message }) => message === "Connecting to relay"),
      );
      const again = [...more, "Could not connect to relay"];
      deepEqual(
        attempts.map(({ message }) => message),
        ["Connecting to relay", "Could not connect to relay", ...again, ...again],
      );
      for (const { level, error, retry_in_ms: delayMs } of failed) {
        equal(level, "warn");
        ok(typeof error === "string" && error !== "");
        ok(typeof delayMs === "number" && delayMs >= 0 && delayMs <= 100, String(delayMs));
      }
    });
  }
});

/**
 * Settings that came right behind the handshake's answer were lost now and then, once in ten times or
 * in a hundred: the agent took its relay for one of version 1, and the relay gave it up after 10 s.
 */
Deno.test("a relay's Settings right behind the handshake's answer are heard every time", async () => {
  const handshakes = 80;
  await using relay = await startLinkRelay();
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: secrets.token,
    target: "127.0.0.1:9",
    waitsForSession: false,
    args: ["-max-retry", "5ms"],
  });
  for (let index = 0; index < handshakes; index++) {
    const link = await relay.link(index);
    await link.waitForFrame(({ type }) => type === V2.settings, "the agent's Settings");
    await link.terminate();
  }
  const isConnected = ({ message }: LogLine) => message === "Connected to relay";
  const versions = (await agent.waitForLogs(handshakes, isConnected)).map(({ version }) => version);
  deepEqual(new Set(versions), new Set([2]));
});
