/**
 * The two version 1 peers against each other, with a raw target behind them: what the interop tests
 * build on works, and each peer notices what the other must not do.
 */
import { deepEqual, equal, match, notEqual, ok, rejects } from "node:assert/strict";
import { startV1Agent, V1HandshakeError } from "../peers/v1_agent.ts";
import { V1 } from "../peers/v1_frame.ts";
import { V1Referee } from "../peers/v1_referee.ts";
import { startV1Relay, type V1RelayStream, V1StreamError } from "../peers/v1_relay.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { fieldValues, statusOf } from "../support/raw_http.ts";
import {
  answering,
  refusingAddress,
  startRawTarget,
  type TargetHandler,
} from "../support/target.ts";
import { bulkBytes, BulkContent, digestOf, sha256 } from "./contents.ts";

const TOKEN = "peers-token-0123456789";
const CLUSTER = "peers";
const EMPTY = new Uint8Array(0);

/** A version 1 relay with a version 1 agent and a raw target behind it. */
async function startPeers(
  handler: TargetHandler,
  agentOptions: Partial<Parameters<typeof startV1Agent>[0]> = {},
) {
  await using stack = new AsyncDisposableStack();
  const target = stack.use(await startRawTarget(handler));
  const keepsPayloads = agentOptions.keepsPayloads ?? true;
  const relay = stack.use(await startV1Relay({ tokens: { [TOKEN]: CLUSTER }, keepsPayloads }));
  const agent = stack.use(
    await startV1Agent({
      relayUrl: relay.connectUrl,
      token: TOKEN,
      target: target.address,
      ...agentOptions,
    }),
  );
  const session = await relay.session(CLUSTER);
  const owned = stack.move();
  return { target, relay, agent, session, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const getRequest = "GET /path?q=1 HTTP/1.1\r\nHost: target\r\n\r\n";

Deno.test("v1 peers: a request gets the agent's credential and its response comes back", async () => {
  const answerOnce: TargetHandler = async (connection) => {
    await connection.reader.readUntil("\r\n\r\n");
    await connection.write(okAnswer);
    connection.end();
  };
  await using peers = await startPeers(answerOnce, { credential: "sa-token" });

  const request = "GET /path HTTP/1.1\r\nHost: target\r\nauthorization: Bearer caller\r\n\r\n";
  const response = await peers.relay.request(CLUSTER, peers.target.address, request);

  equal(statusOf(response), 200);
  equal(new TextDecoder().decode(response.body), "ok");
  deepEqual(response.end, { kind: "close", by: "agent" });
  equal(
    peers.target.connections[0]!.receivedText,
    "GET /path HTTP/1.1\r\nAuthorization: Bearer sa-token\r\nHost: target\r\n\r\n",
  );
  const types = peers.agent.frames.map(({ direction, type }) => `${direction} ${type}`);
  deepEqual(types.slice(0, 3), ["received 1", "sent 2", "received 3"]);
  deepEqual([peers.agent.violations, peers.relay.violations], [[], []]);
});

Deno.test("v1 peers: 5 MB pass unchanged in both directions", async () => {
  const body = bulkBytes(5_000_000);
  const echo: TargetHandler = answering(async (request, connection) => {
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${request.body.length}\r\n\r\n`);
    await connection.write(request.body);
    connection.end();
  });
  await using peers = await startPeers(echo);

  const stream = await peers.session.open(peers.target.address);
  await stream.send(`POST / HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n`);
  await stream.send(body);
  await stream.reader.readUntil("\r\n\r\n");

  equal(sha256(await within(stream.reader.readToEnd(), "the echo")), sha256(body));
  deepEqual([peers.agent.violations, peers.relay.violations], [[], []]);
});

Deno.test("v1 peers: an upgraded stream is a raw connection", async () => {
  const echoAfterUpgrade: TargetHandler = async (connection) => {
    await connection.reader.readUntil("\r\n\r\n");
    await connection.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    for await (const chunk of connection.reader) await connection.write(chunk);
    connection.end();
  };
  await using peers = await startPeers(echoAfterUpgrade);

  const request = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
  const { head, stream } = await peers.relay.upgrade(CLUSTER, peers.target.address, request);
  equal(statusOf(head), 101);
  deepEqual(fieldValues(head, "upgrade"), ["echo"]);
  for (const bytes of [new Uint8Array([0, 255, 1]), bulkBytes(100_000)]) {
    await stream.send(bytes);
    equal(sha256(await stream.reader.readExactly(bytes.length)), sha256(bytes));
  }
  await stream.close();
  const connection = await peers.target.connection(0);
  await within(connection.closed, "the target's connection to close");
});

Deno.test("v1 agent: refuses any address but its target's", async () => {
  await using peers = await startPeers(() => undefined);
  await rejects(peers.session.open("127.0.0.1:1"), new V1StreamError("address not allowed"));
  equal(peers.target.connections.length, 0);
});

Deno.test("v1 agent: reports a target that cannot be dialled", async () => {
  const target = refusingAddress();
  await using peers = await startPeers(() => undefined, { target });
  await rejects(peers.session.open(target), { name: "V1StreamError", message: /^dial / });
});

Deno.test("v1 agent: loses Data that comes before Connected, and notes it", async () => {
  const gate = Promise.withResolvers<void>();
  await using peers = await startPeers(() => undefined, { beforeDial: () => gate.promise });

  const stream = await peers.session.connect(peers.target.address);
  await stream.send(getRequest);
  await peers.session.ping();
  gate.resolve();
  await stream.opened;

  equal(peers.agent.droppedBytes, getRequest.length);
  match(peers.agent.violations.join(), /^data on stream 1 .*: the stream is connecting$/);
});

Deno.test("v1 agent: ends the target's connection when the relay closes the stream", async () => {
  await using peers = await startPeers(() => undefined);
  const stream = await peers.session.open(peers.target.address);
  await stream.send(getRequest);
  const connection = await peers.target.connection(0);
  await stream.close();
  await eventually(() => connection.isEnded, "the end of the target's connection");
  equal(peers.agent.openStreams, 0);
});

Deno.test("v1 agent: answers Ping and ignores a type that it does not know", async () => {
  await using peers = await startPeers(() => undefined);
  await peers.session.sendFrame(0x42, 7, new Uint8Array([1]));
  await peers.session.ping();
  await peers.agent.ping();
  match(peers.agent.violations.join(), /^0x42 on stream 7 .*: version 1 has no such type$/);
});

Deno.test("v1 agent: fails on a message over 16 MiB", async () => {
  await using peers = await startPeers(() => undefined, { keepsPayloads: false });
  const message = new Uint8Array(16 * 1024 * 1024 + 1);
  message[0] = V1.data;
  await peers.session.sendMessage(message);
  equal((await within(peers.session.closed, "the session to end")).code, 1009);
  deepEqual(peers.agent.violations, ["A message is over 16777216 bytes"]);
});

Deno.test("v1 agent: a paused one leaves the relay's bytes on the relay's side", async () => {
  const content = new BulkContent(512);
  let drained: Awaited<ReturnType<typeof digestOf>> | undefined;
  const drain: TargetHandler = async (connection) => {
    await connection.reader.readUntil("\r\n\r\n");
    drained = await digestOf(connection.reader);
  };
  await using peers = await startPeers(drain, { keepsPayloads: false });
  const stream = await peers.session.open(peers.target.address);
  await stream.send(getRequest);

  peers.agent.pause();
  let sent = 0;
  const sending = (async () => {
    for (const chunk of content) {
      await stream.send(chunk);
      sent += chunk.length;
    }
    await stream.close();
  })();
  ok(await untilSteady(() => sent, "the bytes sent", { quietMs: 300 }) < content.length);

  peers.agent.resume();
  await within(sending, "the rest to be sent");
  await eventually(() => drained !== undefined, "the target to have it all");
  deepEqual(drained, { length: content.length, checksum: content.checksum });
});

Deno.test("v1 relay: a paused one holds the target up and loses nothing", async () => {
  const content = new BulkContent(512);
  const download: TargetHandler = async (connection) => {
    await connection.reader.readUntil("\r\n\r\n");
    for (const chunk of content) await connection.write(chunk);
    connection.end();
  };
  await using peers = await startPeers(download, { keepsPayloads: false });
  const stream = await peers.session.open(peers.target.address);
  peers.session.pause();
  await stream.send(getRequest);
  const connection = await peers.target.connection(0);
  const written = () => connection.writtenBytes;
  const held = await untilSteady(written, "the bytes written", { quietMs: 300 });
  notEqual(held, 0);
  ok(held < content.length, `${held} of ${content.length} bytes left the target`);

  peers.session.resume();
  const digest = await within(digestOf(stream.reader), "the download");
  deepEqual(digest, { length: content.length, checksum: content.checksum });
});

Deno.test("v1 relay: refuses a wrong token with 401 and an Origin with 403", async () => {
  await using relay = await startV1Relay({ tokens: { [TOKEN]: CLUSTER } });
  const agent = { relayUrl: relay.connectUrl, target: "127.0.0.1:1" };
  await rejects(startV1Agent({ ...agent, token: "wrong" }), new V1HandshakeError(401));
  const headers = { origin: "https://page.example" };
  await rejects(startV1Agent({ ...agent, token: TOKEN, headers }), new V1HandshakeError(403));
  deepEqual(relay.refused.map(({ status }) => status), [401, 403]);
  equal(relay.sessions.length, 0);
});

Deno.test("v1 relay: pings at its interval", async () => {
  await using relay = await startV1Relay({ tokens: { [TOKEN]: CLUSTER }, pingIntervalMs: 5 });
  await using agent = await startV1Agent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: "127.0.0.1:1",
  });
  const session = await relay.session(CLUSTER);
  const pongs = () => session.frames.filter(({ type }) => type === V1.pong).length;
  await eventually(() => pongs() >= 3, "three Pongs");
  deepEqual([agent.violations, relay.violations], [[], []]);
});

Deno.test("v1 relay: a frame may leave with the handshake's answer", async () => {
  await using target = await startRawTarget(answering(okAnswer));
  const opened = Promise.withResolvers<V1RelayStream>();
  await using relay = await startV1Relay({
    tokens: { [TOKEN]: CLUSTER },
    onSession: (session) => void session.open(target.address).then(opened.resolve, opened.reject),
  });
  const relayUrl = relay.connectUrl;
  await using agent = await startV1Agent({ relayUrl, token: TOKEN, target: target.address });
  const stream = await within(opened.promise, "Connected");
  equal(stream.id, 1);
  deepEqual(agent.violations, []);
});

Deno.test("v1 relay: a second agent with the same token replaces the first", async () => {
  await using peers = await startPeers(answering(okAnswer));
  await using second = await startV1Agent({
    relayUrl: peers.relay.connectUrl,
    token: TOKEN,
    target: peers.target.address,
  });
  await within(peers.agent.closed, "the first agent to be sent away");
  const session = await peers.relay.session(CLUSTER);
  await session.open(peers.target.address);
  await second.waitForFrame(({ type }) => type === V1.connect);
});

Deno.test("v1 relay: the end of the session ends its streams with an error", async () => {
  await using peers = await startPeers(() => undefined);
  const stream = await peers.session.open(peers.target.address);
  await peers.agent.terminate();
  deepEqual(await within(stream.ended, "the stream to end"), { kind: "session" });
  await rejects(stream.reader.readToEnd(), V1StreamError);
  equal(peers.session.openStreams, 0);
});

Deno.test("V1Referee: names every breach by an agent", () => {
  const frame = (type: number, streamId: number, payload = EMPTY) => ({ type, streamId, payload });
  const bytes = new Uint8Array([0xff]);
  const cases: [string, ReturnType<typeof frame>[], RegExp][] = [
    ["Settings", [frame(0x08, 0)], /version 1 has no such type/],
    ["Batch", [frame(0x0c, 0)], /version 1 has no such type/],
    ["Connect", [frame(V1.connect, 1)], /only relays send it/],
    ["Ping on a stream", [frame(V1.ping, 1)], /it belongs on stream 0/],
    ["Connected with bytes", [frame(V1.connected, 1, bytes)], /must be empty/],
    ["Connected twice", [frame(V1.connected, 1), frame(V1.connected, 1)], /the stream is open/],
    ["Data too early", [frame(V1.data, 1, bytes)], /the stream is connecting/],
    ["Data on no stream", [frame(V1.data, 2, bytes)], /never opened/],
    ["Data after Close", [frame(V1.close, 1), frame(V1.data, 1)], /has ended the stream/],
    ["Close twice", [frame(V1.close, 1), frame(V1.close, 1)], /has ended the stream/],
    ["Close with bytes", [frame(V1.close, 1, bytes)], /must be empty/],
    ["Error that is no text", [frame(V1.error, 1, bytes)], /not UTF-8/],
  ];
  for (const [name, frames, breach] of cases) {
    const referee = new V1Referee("agent");
    referee.sent(frame(V1.connect, 1));
    for (const each of frames) referee.received(each);
    equal(referee.violations.length, 1, name);
    match(referee.violations[0]!, breach, name);
  }
});

Deno.test("V1Referee: names every breach by a relay", () => {
  const frame = (type: number, streamId: number, payload = EMPTY) => ({ type, streamId, payload });
  const open = frame(V1.connect, 1);
  const cases: [string, ReturnType<typeof frame>[], RegExp][] = [
    ["Open", [frame(0x0b, 1)], /version 1 has no such type/],
    ["Connected", [open, frame(V1.connected, 1)], /only agents send it/],
    ["Connect on stream 0", [frame(V1.connect, 0)], /the session's own/],
    ["Connect twice", [open, open], /the stream is in use/],
    ["Data before Connected", [open, frame(V1.data, 1)], /the stream is connecting/],
    ["Error after Close", [open, frame(V1.close, 1), frame(V1.error, 1)], /has ended the stream/],
  ];
  for (const [name, frames, breach] of cases) {
    const referee = new V1Referee("relay");
    for (const each of frames) referee.received(each);
    equal(referee.violations.length, 1, name);
    match(referee.violations[0]!, breach, name);
  }
});

Deno.test("V1Referee: frames that cross the end of a stream are in order", () => {
  const referee = new V1Referee("relay");
  referee.received({ type: V1.connect, streamId: 1, payload: EMPTY });
  referee.sent({ type: V1.connected, streamId: 1, payload: EMPTY });
  referee.sent({ type: V1.close, streamId: 1, payload: EMPTY });
  referee.received({ type: V1.data, streamId: 1, payload: new Uint8Array(9) });
  referee.received({ type: V1.close, streamId: 1, payload: EMPTY });
  deepEqual(referee.violations, []);
});
