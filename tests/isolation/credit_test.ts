/** A peer that ignores what it may send, or what it is sent, loses its session; nobody else notices. */
import { equal, match, ok, rejects } from "node:assert/strict";
import type { Socket } from "node:net";
import { eventually, untilEqual, within } from "../support/deadline.ts";
import { type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readHead, readResponse, statusOf } from "../support/raw_http.ts";
import { startRawTarget, type TargetHandler } from "../support/target.ts";
import { V2Agent } from "../peers/v2_agent.ts";
import { encodeV2Batch, encodeV2Frame, jsonPayload, V2 } from "../peers/v2_frame.ts";
import { type V2Close, v2Settings } from "../peers/v2_link.ts";
import { V2Relay } from "../peers/v2_relay.ts";
import { WsClient } from "../peers/ws.ts";
import { service } from "./service.ts";
import { askSmall, CLUSTER, lastLines, metric, secrets } from "./tunnel.ts";

const hostileCluster = "red";
const hostileToken = "hostile-agents-token";

/** What a flood is made of: 256 MiB in frames of 64 KiB, some thousand times the credit. */
const floodFrames = 4096;
const floodBytes = new Uint8Array(64 * 1024);
/** What the relay may grow by: less than the flood, and more than its garbage. */
const maxGrowthBytes = 224 * 1024 * 1024;

/** A Ping of the WebSocket's own with 100 bytes, masked by zeros (RFC 6455 section 5.2). */
const webSocketPing = Uint8Array.from({ length: 106 }, (_, at) => [0x89, 0x80 | 100][at] ?? 0);

/** Runs `test` with a relay of which one cluster has a real agent and another a hostile one. */
async function withHostileCluster(test: (relay: RunningRelay) => Promise<void>): Promise<void> {
  await using target = await startRawTarget(service);
  const clusters = [
    { id: CLUSTER, token: secrets.token, targetAddr: target.address },
    { id: hostileCluster, token: hostileToken, targetAddr: "192.0.2.1:80" },
  ];
  await using relay = await startRelay({ clusters });
  await using _agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: secrets.token,
    target: target.address,
  });
  await relay.waitForAgent(CLUSTER);
  try {
    await askSmall(relay);
    const before = await relay.program.residentBytes();
    await test(relay);
    await askSmall(relay);
    const growth = await relay.program.peakResidentBytes() - before;
    ok(growth < maxGrowthBytes, `the relay grew by ${growth} bytes`);
  } catch (error) {
    console.error(lastLines(relay.program));
    throw error;
  }
}

/** Waits for the relay to say that it ended the hostile session, which it must do with this code. */
async function untilCutOff(relay: RunningRelay, code: number): Promise<string> {
  const line = await relay.waitForLog(({ message, cluster }) =>
    message === "Agent disconnected" && cluster === hostileCluster
  );
  equal(line.code, code);
  return String(line.reason);
}

/** A peer that goes on flooding may lose the close frame with the connection. */
function assertClosed({ code }: V2Close, expected: number): void {
  ok(code === expected || code === 1006, `the session must end with ${expected}, not ${code}`);
}

Deno.test("an agent that floods a stream past its credit is cut off with 1002, others go on", async () => {
  await withHostileCluster(async (relay) => {
    const relayUrl = relay.connectUrl;
    await using hostile = await V2Agent.start({ relayUrl, token: hostileToken });
    await relay.waitForAgent(hostileCluster);
    await using caller = await openConnection(relay.internalAddress);
    await caller.write(`GET /tunnel/${hostileCluster}/ HTTP/1.1\r\nHost: relay\r\n\r\n`);
    await eventually(() => hostile.opened.length === 1, "the request to reach the agent");
    const stream = hostile.opened[0]!;
    const length = floodFrames * floodBytes.length;
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
    await stream.send(new TextEncoder().encode(head));
    equal(statusOf(await within(readHead(caller.reader), "the answer's head")), 200);
    const flood = Array.from({ length: floodFrames }, () => stream.sendFrame(V2.data, floodBytes));
    await within(Promise.all([askSmall(relay), ...flood]), "the flood to have left");

    match(await untilCutOff(relay, 1002), /^Stream 1 went past its credit/);
    assertClosed(await within(hostile.link.closed, "the end of the hostile session"), 1002);
    await rejects(within(caller.reader.readExactly(length), "the body"), /Source ended|gone/);
    await untilEqual(() => metric(relay.internalAddress, "tunnel_active_connections"), 0);
  });
});

Deno.test("an agent that sends Pings and reads no Pongs is cut off, others go on", async () => {
  await withHostileCluster(async (relay) => {
    const hostile = new WsClient(relay.connectUrl, {
      headers: { authorization: `Bearer ${hostileToken}`, "tunnel-version": "2" },
      perMessageDeflate: false,
      maxPayload: 1024 * 1024,
    });
    const isClosed = new Promise<void>((resolve) => hostile.on("close", () => resolve()));
    hostile.on("error", () => {}); // `close` follows.
    const send = (message: Uint8Array) =>
      new Promise<void>((resolve) => hostile.send(message, { binary: true }, () => resolve()));
    try {
      const hello = Promise.withResolvers<void>();
      hostile.on("message", () => hello.resolve());
      await within(hello.promise, "the relay's Settings");
      await send(encodeV2Frame(V2.settings, 0, jsonPayload(v2Settings())));
      hostile.pause();
      const ping = encodeV2Frame(V2.ping, 0, new Uint8Array(120));
      const pings = encodeV2Batch(Array.from({ length: 500 }, () => ping));
      let isCutOff = false;
      const cutOff = untilCutOff(relay, 1013).finally(() => isCutOff = true);
      const flood = async () => {
        for (let count = 0; count < floodFrames && !isCutOff; count++) await send(pings);
      };
      await within(Promise.all([flood(), askSmall(relay), cutOff]), "the flood of Pings");
    } finally {
      hostile.terminate();
      await within(isClosed, "the hostile agent to be gone");
    }
  });
});

for (const what of ["reads no Pongs", "reads them"]) {
  Deno.test(`an agent that sends WebSocket Pings without end and ${what} is cut off, others go on`, async () => {
    await withHostileCluster(async (relay) => {
      const hostile = new WsClient(relay.connectUrl, {
        headers: { authorization: `Bearer ${hostileToken}`, "tunnel-version": "2" },
        perMessageDeflate: false,
        maxPayload: 1024 * 1024,
      });
      const isClosed = new Promise<void>((resolve) => hostile.on("close", () => resolve()));
      hostile.on("error", () => {}); // `close` follows.
      try {
        await within(new Promise<void>((resolve) => hostile.on("open", resolve)), "the handshake");
        if (what === "reads no Pongs") hostile.pause();
        // Below the package, which would take as long for them as the relay.
        const line = (hostile as unknown as { readonly _socket: Socket })._socket;
        const pings = new Uint8Array(500 * webSocketPing.length);
        for (let at = 0; at < pings.length; at += webSocketPing.length) {
          pings.set(webSocketPing, at);
        }
        let isCutOff = false;
        const cutOff = relay.waitForLog(({ message }) => message === "Agent disconnected")
          .finally(() => isCutOff = true);
        const flood = async () => {
          for (let count = 0; count < floodFrames && !isCutOff; count++) {
            await new Promise<void>((resolve) => line.write(pings, () => resolve()));
          }
        };
        await within(Promise.all([flood(), askSmall(relay)]), "the flood of Pings");
        const end = await cutOff;
        ok(end.code === 4002 || end.code === 1013, `code ${end.code}`);
      } finally {
        hostile.terminate();
        await within(isClosed, "the hostile agent to be gone");
      }
    });
  });
}

Deno.test("a relay that floods a stream past its credit loses the agent, which connects anew", async () => {
  const goesOn = Promise.withResolvers<void>();
  const notReading: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await goesOn.promise;
    for await (const _bytes of connection.reader);
    connection.end();
  };
  let connections = 0;
  await using target = await startRawTarget((connection) =>
    connections++ === 0 ? notReading(connection) : service(connection)
  );
  await using relay = await V2Relay.start({ token: secrets.token });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: secrets.token,
    target: target.address,
    args: ["-max-retry", "100ms"],
  });
  const length = `Content-Length: ${floodFrames * floodBytes.length}`;
  const put = `PUT / HTTP/1.1\r\nHost: target\r\n${length}\r\n\r\n`;
  const hostile = await relay.session();
  const upload = await hostile.open(target.address, new TextEncoder().encode(put), { ends: false });
  const atTarget = await target.connection(0);
  const flood = Array.from({ length: floodFrames }, () => upload.sendFrame(V2.data, floodBytes));
  await within(Promise.all(flood), "the flood to have left");

  const end = await agent.waitForLog(({ message }) => message === "Disconnected from relay");
  equal(end.code, 1002);
  assertClosed(await within(hostile.link.closed, "the end of the hostile session"), 1002);
  goesOn.resolve();
  await within(atTarget.closed, "the request at the target to end");
  const get = "GET /small HTTP/1.1\r\nHost: target\r\n\r\n";
  const session = await relay.session();
  const stream = await session.open(target.address, new TextEncoder().encode(get));
  const answer = await within(readResponse(stream.reader), "an answer in the new session");
  equal(new TextDecoder().decode(answer.body), "small");
  await eventually(
    async () => await metric(agent.healthAddress, "agent_open_streams") === 0,
    "the agent's streams to end",
  );
});
