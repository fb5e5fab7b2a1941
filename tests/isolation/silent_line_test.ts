/**
 * The real programs, and a line between them that drops everything without a word: a request that
 * waits is not left waiting, and agents come back on a line that works, with a request or without.
 */
import { equal, ok } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { type LogLine, startAgent, startRelay } from "../support/programs.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { service } from "./service.ts";
import { TcpProxy } from "./tcp_proxy.ts";
import { askSmall, call, CLUSTER, lastLines, metric, relayLogUpToNow, secrets } from "./tunnel.ts";

/** Found in 10 to 12 s; under the 45 s that a session without a request is given. */
const noticeMs = 30_000;
/** For those 45 s, and a busy machine. */
const idleNoticeMs = 75_000;
const idleCluster = "idle";
const idleToken = "token-of-the-idle-cluster";

/** For how long nothing had come, by the reason of a session's end. */
function silentSeconds({ reason }: LogLine): number {
  const [, seconds] = /^No frame for (\d+) s$/.exec(String(reason)) ?? [];
  return Number(seconds ?? NaN);
}

Deno.test("a request on a line that has gone silent fails in seconds, and the agent dials anew", async () => {
  await using target = await startRawTarget(service);
  await using proxy = await TcpProxy.start();
  const clusters = [
    { id: CLUSTER, token: secrets.token, targetAddr: target.address },
    { id: idleCluster, token: idleToken, targetAddr: target.address },
  ];
  await using relay = await startRelay({ clusters });
  proxy.upstream = relay.publicAddress;
  await using agent = await startAgent({
    relayUrl: `ws://${proxy.address}/connect`,
    token: secrets.token,
    target: target.address,
    credential: secrets.credential,
  });
  await using idle = await startAgent({
    relayUrl: `ws://${proxy.address}/connect`,
    token: idleToken,
    target: target.address,
  });
  try {
    await relay.waitForAgent(CLUSTER);
    await relay.waitForAgent(idleCluster);
    await askSmall(relay);
    await using waiting = await call(relay, "POST", "/silent", ["Content-Length: 0"]);
    await eventually(
      async () => await metric(agent.healthAddress, "agent_open_streams") === 1,
      "the request to be open",
    );
    proxy.freeze();
    proxy.thaw(); // For new connections.
    const answer = await within(readResponse(waiting.reader), "an answer", noticeMs);
    equal(statusOf(answer), 502);
    const { error } = JSON.parse(new TextDecoder().decode(answer.body));
    equal(error.code, "reset");
    const ended = await relay.waitForLog(({ message, cluster }) =>
      message === "Agent disconnected" && cluster === CLUSTER
    );
    ok(silentSeconds(ended) >= 10, String(ended.reason));

    const isSilent = async (address: string, name: string) => {
      const text = await (await fetch(`http://${address}/metrics`)).text();
      return text.includes(`${name}{reason="silent"} 1`);
    };
    ok(await isSilent(relay.internalAddress, "culvert_session_ends_total"));
    await eventually(
      () => isSilent(agent.healthAddress, "culvert_agent_disconnects_total"),
      "the agent to notice",
      noticeMs,
    );
    const isConnected = ({ message, cluster }: LogLine) =>
      message === "Agent connected" && cluster === CLUSTER;
    await relay.waitForLogs(2, isConnected, {
      what: "the agent to be back",
      timeoutMs: noticeMs,
    });

    const isIdleOnes = ({ cluster, message }: LogLine) =>
      cluster === idleCluster && message === "Agent disconnected";
    const log = await relayLogUpToNow(relay);
    equal(log.some(isIdleOnes), false, "nobody waits for it, so it is given more time");
    const wait = { timeoutMs: idleNoticeMs };
    ok(silentSeconds(await relay.waitForLog(isIdleOnes, wait)) >= 45);
    const isDisconnected = ({ message }: LogLine) => message === "Disconnected from relay";
    ok(silentSeconds(await idle.waitForLog(isDisconnected, wait)) >= 45);
    const connected = async () => await metric(relay.internalAddress, "agents_connected") === 2;
    await eventually(connected, "both agents to be back", noticeMs);
  } catch (error) {
    console.error(...[relay, agent, idle].map(({ program }) => lastLines(program)));
    throw error;
  }
});
