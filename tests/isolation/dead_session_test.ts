/**
 * A session that dies in the middle of everything: every stream ends with an error, never with a
 * body that looks whole, and the agent comes back.
 */
import { equal, ok, rejects } from "node:assert/strict";
import { UnexpectedEndError } from "../support/byte_reader.ts";
import { eventually, within } from "../support/deadline.ts";
import {
  type ClusterEntry,
  type RunningAgent,
  type RunningRelay,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import {
  ConnectionGoneError,
  openConnection,
  type RawConnection,
} from "../support/raw_connection.ts";
import { readHead, readResponse, statusOf } from "../support/raw_http.ts";
import { type RawTarget, startRawTarget } from "../support/target.ts";
import { service, uploadBytes } from "./service.ts";
import { TcpProxy } from "./tcp_proxy.ts";
import {
  ask,
  askSmall,
  assertNoSecrets,
  call,
  CLUSTER,
  lastLines,
  metric,
  requestHead,
  secrets,
  untilOpen,
} from "./tunnel.ts";

/** How soon everybody must know that a session has died: no timeout of 45 s is waited for. */
const noticeMs = 15_000;

Deno.test("an agent that is killed ends every stream with an error, and its successor serves", async () => {
  await using target = await startRawTarget(service);
  await using relay = await startRelay({ clusters: clustersOf(target) });
  await using agent = await newAgent(target, relay.connectUrl);
  try {
    const callers = await startEverything(relay);
    await untilOpen({ relay, agent, target }, callers.length);
    await agent.kill();
    for (const caller of callers) await caller.assertBroken("agent");
    await untilMetric(relay.internalAddress, "tunnel_active_connections", 0);
    equal(statusOf(await ask(relay, "/small")), 502, "a cluster without an agent");

    await using successor = await newAgent(target, relay.connectUrl);
    await untilMetric(relay.internalAddress, "agents_connected", 1);
    await askSmall(relay);
    await assertNoSecrets(relay, agent, successor);
  } catch (error) {
    console.error(lastLines(relay.program), lastLines(agent.program));
    throw error;
  }
});

Deno.test("a relay that is killed ends every stream with an error, and its successor serves", async () => {
  await using target = await startRawTarget(service);
  await using proxy = await TcpProxy.start();
  await using relay = await startRelay({ clusters: clustersOf(target) });
  proxy.upstream = relay.publicAddress;
  await using agent = await newAgent(target, `ws://${proxy.address}/connect`);
  try {
    const callers = await startEverything(relay);
    await untilOpen({ relay, agent, target }, callers.length);
    const atTarget = target.connections.filter(({ isClosed }) => !isClosed);
    proxy.upstream = undefined;
    await relay.kill();
    for (const caller of callers) await caller.assertBroken("relay");
    const ended = Promise.all(atTarget.map(({ closed }) => closed));
    await within(ended, "the requests at the target to end", noticeMs);
    await untilMetric(agent.healthAddress, "agent_open_streams", 0);
    await untilMetric(agent.healthAddress, "agent_connected", 0);

    await using successor = await startRelay({ clusters: clustersOf(target) });
    proxy.upstream = successor.publicAddress;
    await successor.waitForAgent(CLUSTER);
    await askSmall(successor);
    await assertNoSecrets(relay, agent, successor);
  } catch (error) {
    console.error(lastLines(relay.program), lastLines(agent.program));
    throw error;
  }
});

function clustersOf(target: RawTarget): ClusterEntry[] {
  return [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }];
}

async function newAgent(target: RawTarget, relayUrl: string): Promise<RunningAgent> {
  return await startAgent({
    relayUrl,
    token: secrets.token,
    target: target.address,
    credential: secrets.credential,
    args: ["-max-retry", "500ms"],
  });
}

/** A caller in the middle of its request. */
interface Caller {
  /** Asserts that the caller saw an error once the agent, or the relay itself, has died. */
  assertBroken(dead: "agent" | "relay"): Promise<void>;
}

/** One request of each kind, each in its middle. */
async function startEverything(relay: RunningRelay): Promise<Caller[]> {
  return [
    await startDownload(relay, "/download"),
    await startDownload(relay, "/chunked"),
    await startDownload(relay, "/endless"),
    await startUnframedDownload(relay),
    await startUpload(relay),
    await startSilent(relay),
    await startUpgraded(relay),
  ];
}

/** A download that the caller reads only when the session has died: far more than buffers hold. */
async function startDownload(relay: RunningRelay, path: string): Promise<Caller> {
  const caller = await call(relay, "GET", path);
  return {
    async assertBroken() {
      await assertRejects(readResponse(caller.reader), path);
      caller.destroy();
    },
  };
}

/** A download to a caller of HTTP/1.0, who takes the connection's orderly end for the body's. */
async function startUnframedDownload(relay: RunningRelay): Promise<Caller> {
  const caller = await openConnection(relay.internalAddress);
  await caller.write(requestHead("GET", "/chunked").replace("HTTP/1.1", "HTTP/1.0"));
  equal(statusOf(await within(readHead(caller.reader), "the head for HTTP/1.0")), 200);
  return {
    async assertBroken(dead) {
      // The system ends the connections of a process that was killed, and it does so in order.
      if (dead === "agent") await assertRejects(caller.reader.readToEnd(), "the unframed body");
      caller.destroy();
    },
  };
}

async function startUpload(relay: RunningRelay): Promise<Caller> {
  const caller = await call(relay, "PUT", "/upload", [`Content-Length: ${uploadBytes.length}`]);
  await caller.write(uploadBytes.subarray(0, uploadBytes.length / 2));
  return { assertBroken: (dead) => assertBadGateway(caller, dead) };
}

async function startSilent(relay: RunningRelay): Promise<Caller> {
  const caller = await call(relay, "GET", "/silent");
  return { assertBroken: (dead) => assertBadGateway(caller, dead) };
}

/** A relay that lives says what happened, as no answer has begun. */
async function assertBadGateway(caller: RawConnection, dead: "agent" | "relay"): Promise<void> {
  const answer = readResponse(caller.reader);
  if (dead === "relay") await assertRejects(answer, "an answer");
  else equal(statusOf(await within(answer, "an answer of the relay's", noticeMs)), 502);
  caller.destroy();
}

async function startUpgraded(relay: RunningRelay): Promise<Caller> {
  const caller = await call(relay, "GET", "/echo", ["Connection: Upgrade", "Upgrade: echo"]);
  equal(statusOf(await within(readHead(caller.reader), "the upgrade")), 101);
  await caller.write("ping");
  await within(caller.reader.readExactly(4), "the echo");
  return {
    async assertBroken(dead) {
      const rest = caller.reader.readToEnd();
      if (dead === "agent") await assertRejects(rest, "the upgraded connection");
      else await within(rest, "the upgraded connection to end", noticeMs);
      caller.destroy();
    },
  };
}

/** Asserts that reading breaks off, and does so soon. */
async function assertRejects(reading: Promise<unknown>, what: string): Promise<void> {
  await rejects(within(reading, `${what} to break off`, noticeMs), (error: unknown) => {
    ok(
      error instanceof UnexpectedEndError || error instanceof ConnectionGoneError,
      `${what} must break off, but: ${error}`,
    );
    return true;
  });
}

async function untilMetric(address: string, name: string, value: number): Promise<void> {
  const isThere = async () => await metric(address, name) === value;
  await eventually(isThere, `${name} of ${value}`, noticeMs);
}
