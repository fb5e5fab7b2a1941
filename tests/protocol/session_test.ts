/**
 * What two sessions do for each other, over every kind of WebSocket that culvert uses. What a hostile
 * or broken peer can do is in session_hostile_test.ts, version 1 in session_version1_test.ts.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { setTimeout as delay } from "node:timers/promises";
import { StreamError } from "../../lib/protocol/errors.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import { within } from "../support/deadline.ts";
import {
  agentSettings,
  ManualSocket,
  RawPair,
  relaySettings,
  SessionPair,
} from "./session_setup.ts";
import { type Transport, transports } from "./transports.ts";
import { assertSame, batch, bytesOf, frame, patterned, T } from "./wire.ts";

/** Registers a test once for each kind of WebSocket. */
function overEach(name: string, run: (transport: Transport) => Promise<void>): void {
  for (const transport of transports) {
    Deno.test(`Session ${name} (${transport.name})`, () => run(transport));
  }
}

/** Windows of a few bytes, which never grow. */
function windowOf(bytes: number) {
  return {
    relay: { settings: { ...relaySettings, window: bytes, maxWindow: bytes } },
    agent: { settings: { ...agentSettings, window: bytes, maxWindow: bytes } },
  };
}

/** Has a stream send back what comes, as fast as the other side takes it. */
function echo(stream: Stream): void {
  let unconsumed = 0;
  stream.listen({
    data(bytes) {
      unconsumed += bytes.length;
      if (stream.write(bytes)) this.drained();
    },
    drained() {
      const bytes = unconsumed;
      unconsumed = 0;
      stream.consumed(bytes);
    },
    end: () => stream.end(),
    closed() {},
    failed() {},
  });
}

/** Both tables, which are to be empty in the end. */
function openStreams({ relay, agent }: SessionPair): [number, number] {
  return [relay.openStreams, agent.openStreams];
}

/** Resolves when neither side has a stream any more. */
async function untilIdle(pair: SessionPair): Promise<void> {
  await within(Promise.all([pair.relay.drain(20_000), pair.agent.drain(20_000)]), "idle sessions");
  assert.deepEqual(openStreams(pair), [0, 0]);
}

overEach("settles on version 2 and knows the peer's settings", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  assert.deepEqual([pair.relay.version, pair.agent.version], [2, 2]);
  assert.deepEqual(pair.relay.peer, agentSettings);
  assert.deepEqual(pair.agent.peer, relaySettings);
});

overEach("brings target and first bytes with Open, and no frame before it", async (transport) => {
  await using pair = await RawPair.ready(transport, "relay");
  const before = pair.peer.frames.length;
  pair.session.open("service:8080", bytesOf("GET / HTTP/1.1\r\n"));
  const { stream, payload } = await pair.peer.frame(T.Open);
  assert.equal(stream, 1);
  assert.deepEqual(payload, bytesOf("\0\x0cservice:8080GET / HTTP/1.1\r\n"));
  const others = pair.peer.frames.slice(before).map(({ type }) => type);
  assert.deepEqual(others.filter((type) => ![T.Open, T.Ping].includes(type as never)), []);
});

overEach("carries bytes both ways unchanged", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const content = patterned(300_000);
  const [log, { target, log: agentLog }] = await pair.open(content.subarray(0, 20));
  assert.equal(target, "target:1");
  await agentLog.untilBytes(20);
  echo(agentLog.stream);
  agentLog.stream.write(agentLog.bytes);
  await log.send(content.subarray(20));
  log.stream.end();
  await log.untilEvent("end");
  assertSame(log.bytes, content);
  assert.deepEqual(log.events, ["end"]);
  await untilIdle(pair);
});

overEach("lets the relay end its half first", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log, { log: agentLog }] = await pair.open("question");
  log.stream.end();
  await agentLog.untilEvent("end");
  assert.equal(agentLog.text, "question");
  assert.deepEqual(openStreams(pair), [1, 1]);
  await agentLog.send(bytesOf("answer, after the question's end"));
  agentLog.stream.end();
  await log.untilEvent("end");
  assert.equal(log.text, "answer, after the question's end");
  assert.deepEqual([log.events, agentLog.events], [["end"], ["end"]]);
  await untilIdle(pair);
});

overEach("lets the agent end its half first", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log, { log: agentLog }] = await pair.open("first, ");
  agentLog.stream.write(bytesOf("answer"));
  agentLog.stream.end();
  await log.untilEvent("end");
  assert.equal(log.text, "answer");
  assert.deepEqual(openStreams(pair), [1, 1]);
  await log.send(bytesOf("the rest of the question"));
  log.stream.end();
  await agentLog.untilEvent("end");
  assert.equal(agentLog.text, "first, the rest of the question");
  assert.deepEqual([log.events, agentLog.events], [["end"], ["end"]]);
  await untilIdle(pair);
});

overEach("ends a response whole while the request's body still comes", async (transport) => {
  await using pair = await SessionPair.ready(transport, { takesAtOnce: false, ...windowOf(1_000) });
  const [log, { log: agentLog }] = await pair.open(patterned(5_000));
  await agentLog.untilBytes(1_000);
  agentLog.stream.write(bytesOf("413: stop"));
  agentLog.stream.finish();
  await log.untilEvent("closed");
  assert.equal(log.text, "413: stop");
  assert.deepEqual(log.events, ["end", "closed"]);
  assert.deepEqual(agentLog.events, []);
  await untilIdle(pair);
});

overEach("gets everything through a window of three bytes", async (transport) => {
  await using pair = await SessionPair.ready(transport, windowOf(3));
  const content = patterned(200);
  const [log, { log: agentLog }] = await pair.open(content.subarray(0, 100));
  await log.send(content.subarray(100), 7);
  log.stream.end();
  await agentLog.send(content, 11);
  agentLog.stream.end();
  await Promise.all([log.untilEvent("end"), agentLog.untilEvent("end")]);
  assertSame(agentLog.bytes, content);
  assertSame(log.bytes, content);
  assert.ok(Math.max(log.maxUnconsumed, agentLog.maxUnconsumed) <= 3);
});

overEach("lets no stream wait for one that nobody reads", async (transport) => {
  await using pair = await SessionPair.ready(transport, windowOf(1_000));
  const content = patterned(20_000);
  const [stalled, { log: stalledAtAgent }] = await pair.open();
  stalledAtAgent.takesAtOnce = false;
  stalled.stream.write(content);
  stalled.stream.end();
  await stalledAtAgent.untilBytes(1_000);

  const [flowing, { log: flowingAtAgent }] = await pair.open();
  await flowing.send(content);
  flowing.stream.end();
  await flowingAtAgent.untilEvent("end");
  assertSame(flowingAtAgent.bytes, content);
  assert.equal(stalledAtAgent.bytes.length, 1_000);

  stalledAtAgent.flow();
  await stalledAtAgent.untilEvent("end");
  assertSame(stalledAtAgent.bytes, content);
});

overEach("refuses to open more streams than the agent takes", async (transport) => {
  const settings = { ...agentSettings, maxStreams: 2 };
  await using pair = await SessionPair.ready(transport, { agent: { settings } });
  const [first] = await pair.open();
  await pair.open();
  assert.throws(
    () => pair.relay.open("target:1", bytesOf("")),
    new StreamError("limit", "The session's 2 streams are all in use"),
  );
  first.stream.close();
  await pair.open();
  assert.deepEqual(openStreams(pair), [2, 2]);
});

overEach("tells the other side when a stream is given up", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log, { log: agentLog }] = await pair.open("GET");
  log.stream.close();
  await agentLog.untilEvent("closed");
  assert.deepEqual([log.events, agentLog.events], [[], ["closed"]]);
  assert.deepEqual(openStreams(pair), [0, 0]);
});

overEach("tells the other side why a stream failed", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log, { log: agentLog }] = await pair.open("GET");
  agentLog.stream.fail(new StreamError("unreachable", "no route"));
  await log.untilEvent("failed");
  assert.deepEqual([log.events, agentLog.events], [["failed unreachable: no route"], []]);
  assert.deepEqual(openStreams(pair), [0, 0]);
});

overEach(
  "drains: asks for no new streams, which may come yet, and waits for the open ones",
  async (transport) => {
    await using pair = await SessionPair.ready(transport);
    const [log, { log: agentLog }] = await pair.open("slow");
    let isDrained = false;
    const drained = pair.relay.drain(20_000).then(() => isDrained = true);
    await pair.untilDraining("agent");
    assert.deepEqual([pair.relay.isDraining, pair.agent.isDraining], [true, true]);
    const [late, { log: lateAtAgent }] = await pair.open("late");
    lateAtAgent.stream.close();
    await late.untilEvent("closed");
    await agentLog.send(bytesOf("done"));
    agentLog.stream.end();
    await log.untilEvent("end");
    assert.deepEqual([log.text, isDrained], ["done", false]);
    log.stream.end();
    await within(drained, "the drain to end");
  },
);

overEach("drains on the agent's word as well", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log, { log: agentLog }] = await pair.open("slow");
  const drained = pair.agent.drain(20_000);
  await pair.untilDraining("relay");
  assert.throws(
    () => pair.relay.open("target:1", bytesOf("")),
    new StreamError("unreachable", "The session takes no new streams"),
  );
  for (const { stream } of [log, agentLog]) stream.end();
  await within(drained, "the drain to end");
  assert.deepEqual(pair.drainingEvents, ["relay"]);
});

overEach("gives up a drain after its time, with the stream still open", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log] = await pair.open("endless");
  await within(pair.relay.drain(1), "the drain to give up");
  assert.equal(pair.relay.openStreams, 1);
  assert.deepEqual(log.events, []);
});

overEach("ends a drain for everybody who waits for it", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log] = await pair.open();
  const drained = Promise.all([pair.relay.drain(60_000), pair.relay.drain(60_000)]);
  log.stream.close();
  await within(drained, "both waits for the drain to end");
});

overEach("tells both sides how it ends, and every open stream", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log, { log: agentLog }] = await pair.open("GET");
  pair.relay.close(4001, "Replaced by a newer session");
  const end = { code: 4001, reason: "Replaced by a newer session" };
  assert.deepEqual(await pair.ends(), { relay: end, agent: end });
  const failure = "failed reset: The session ended: Replaced by a newer session";
  assert.deepEqual([log.events, agentLog.events], [[failure], [failure]]);
  assert.deepEqual(openStreams(pair), [0, 0]);
});

overEach("ends on both sides when the connection breaks", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log, { log: agentLog }] = await pair.open("GET");
  pair.wire.relay.terminate();
  const end = { code: 1006, reason: "The connection ended" };
  assert.deepEqual(await pair.ends(), { relay: end, agent: end });
  const failure = "failed reset: The session ended: The connection ended";
  assert.deepEqual([log.events, agentLog.events], [[failure], [failure]]);
});

overEach("opens no stream once it is over", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  pair.relay.close(1001, "Over");
  assert.throws(
    () => pair.relay.open("target:1", bytesOf("")),
    new StreamError("unreachable", "The session takes no new streams"),
  );
});

overEach("does nothing for the owner of a stream whose session is over", async (transport) => {
  await using pair = await SessionPair.ready(transport);
  const [log, { log: agentLog }] = await pair.open("GET");
  pair.relay.close(4000, "Over");
  await agentLog.untilEvent("failed");
  for (const { stream } of [log, agentLog]) {
    assert.equal(stream.write(bytesOf("late")), true);
    stream.consumed(3);
    stream.end();
    stream.finish();
    stream.fail(new StreamError("internal", "late"));
    stream.close();
  }
  assert.deepEqual([log.events.length, agentLog.events.length], [1, 1]);
});

overEach("measures the round trip with its own clock", async (transport) => {
  const clock = { nowMs: 5_000 };
  await using pair = await RawPair.ready(transport, "relay", { nowMs: () => clock.nowMs });
  const { payload } = await pair.peer.frame(T.Ping);
  assert.equal(pair.session.roundTripMs, 0);
  clock.nowMs += 7;
  pair.peer.send(Uint8Array.of(T.Pong, 0, 0, 0, 0, ...payload));
  await pair.peer.roundTrip();
  assert.equal(pair.session.roundTripMs, 7);
});

overEach("pings by itself once the interval is over", async (transport) => {
  const clock = { nowMs: 0 };
  const options = { nowMs: () => clock.nowMs, pingIntervalMs: 30, idleTimeoutMs: 1_000_000 };
  await using pair = await RawPair.ready(transport, "agent", options);
  const pings = () => pair.peer.frames.filter(({ type }) => type === T.Ping).length;
  await pair.peer.until(() => pings() === 1, "the first Ping, as the session begins");
  clock.nowMs += 30;
  await pair.peer.until(() => pings() === 2, "the Ping of the interval");
});

overEach("is dead when nothing has come for the idle timeout", async (transport) => {
  const options = { pingIntervalMs: 30, idleTimeoutMs: 500 };
  await using pair = await RawPair.ready(transport, "agent", options);
  pair.peer.send(Uint8Array.of(T.Open, 0, 0, 0, 1, 0, 3, ...bytesOf("t:1")));
  await pair.peer.roundTrip();
  await assertSilent(pair);
});

overEach("is dead soon when a stream is open and a Ping is not answered", async (transport) => {
  const options = { pingIntervalMs: 10_000, answerTimeoutMs: 200 };
  await using pair = await RawPair.ready(transport, "agent", options);
  await delay(1_000);
  assert.equal(pair.session.isClosed, false, "nobody waits");
  pair.peer.send(Uint8Array.of(T.Open, 0, 0, 0, 1, 0, 3, ...bytesOf("t:1")));
  await pair.peer.roundTrip();
  await assertSilent(pair);
});

async function assertSilent(pair: RawPair): Promise<void> {
  const { code, reason, isSilence } = await within(pair.session.closed, "the session to end");
  assert.deepEqual([code, isSilence], [1006, true]);
  assert.match(reason, /^No frame for \d+ s$/);
  const failure = `failed reset: The session ended: ${reason}`;
  assert.deepEqual(pair.accepted.map(({ log }) => log.events), [[failure]]);
  assert.equal(pair.session.openStreams, 0);
}

/** A relay's session of version 2, with a stream open, whose timer comes every few milliseconds. */
function waitingSession(socket: ManualSocket): Session {
  const session = new Session(socket, {
    role: "relay",
    settings: relaySettings,
    offersVersion2: true,
    answerTimeoutMs: 100,
  });
  socket.events.message(frame(T.Settings, 0, JSON.stringify(agentSettings)));
  session.open("target:1", bytesOf("GET"));
  return session;
}

Deno.test("Session takes a full line that takes more bytes for a living peer", async () => {
  const socket = new ManualSocket();
  const session = waitingSession(socket);
  socket.bufferedAmount = 1_000_000;
  for (let count = 0; count < 20; count++) {
    await delay(50);
    socket.bufferedAmount -= 1000;
  }
  assert.equal(session.isClosed, false);
  const { isSilence } = await within(session.closed, "the end, as the line takes no more");
  assert.equal(isSilence, true);
});

Deno.test("Session takes no living peer from what an empty line takes", async () => {
  const socket = new ManualSocket();
  const session = waitingSession(socket);
  const { isSilence } = await within(session.closed, "the end, though the Pings have left");
  assert.equal(isSilence, true);
  assert.ok(socket.takeFrames().some(({ type }) => type === T.Ping));
});

overEach("rejects ready when it ends before the version is settled", async (transport) => {
  await using pair = await RawPair.connect(transport, "relay");
  pair.peer.socket.close(4000, "never mind");
  await assert.rejects(
    within(pair.session.ready, "ready to be settled"),
    new StreamError("reset", "The session ended: never mind"),
  );
});

Deno.test("Session frees a large message once every stream has freed its part, and no other", () => {
  const socket = new ManualSocket();
  const session = new Session(socket, {
    role: "relay",
    settings: relaySettings,
    offersVersion2: true,
  });
  socket.events.message(frame(T.Settings, 0, JSON.stringify(agentSettings)));
  const stream = session.open("t:1", bytesOf("GET"));
  const got: [number, (() => void) | undefined][] = [];
  stream.listen({
    data(bytes, release) {
      got.push([bytes.length, release]);
      stream.consumed(bytes.length);
    },
    ...{ drained() {}, end() {}, closed() {}, failed() {} },
  });
  const large = frame(T.Data, stream.id, patterned(20_000));
  socket.events.message(large);
  socket.events.message(frame(T.Data, stream.id, "small"));
  const parts = [patterned(20_000), patterned(300)].map((bytes) => frame(T.Data, stream.id, bytes));
  const shared = batch(frame(T.Ping, 0, "12345678"), ...parts);
  socket.events.message(shared);
  assert.deepEqual(got.map(([length]) => length), [20_000, 5, 20_000, 300]);
  assert.deepEqual(got.map(([, free]) => free !== undefined), [true, false, true, true]);
  got[0]![1]!();
  assert.equal(large.buffer.byteLength, 0);
  got[2]![1]!();
  got[2]![1]!();
  assert.notEqual(shared.buffer.byteLength, 0);
  got[3]![1]!();
  assert.equal(shared.buffer.byteLength, 0);
  session.close(1001, "The test is over");
});

Deno.test("Session frees no message too early when another one comes while it is read", () => {
  const socket = new ManualSocket();
  const session = new Session(socket, {
    role: "relay",
    settings: relaySettings,
    offersVersion2: true,
    defer() {},
  });
  socket.events.message(frame(T.Settings, 0, JSON.stringify(agentSettings)));
  const stream = session.open("t:1", bytesOf("GET"));
  const frees: ((() => void) | undefined)[] = [];
  stream.listen({
    data(_bytes, free) {
      frees.push(free);
      if (frees.length === 1) socket.events.message(frame(T.Data, stream.id, "small"));
    },
    ...{ drained() {}, end() {}, closed() {}, failed() {} },
  });
  const parts = [20_000, 300].map((length) => frame(T.Data, stream.id, patterned(length)));
  const message = batch(...parts);
  socket.events.message(message);
  assert.equal(frees.length, 3);
  frees[0]!();
  assert.notEqual(message.buffer.byteLength, 0, "the second part is in use");
  frees[1]!();
  assert.equal(message.buffer.byteLength, 0);
  session.close(1001, "The test is over");
});

Deno.test("Session answers a Ping with its payload, though the message's memory is freed by then", () => {
  const socket = new ManualSocket();
  const deferred: (() => void)[] = [];
  const session = new Session(socket, {
    role: "relay",
    settings: relaySettings,
    offersVersion2: true,
    defer: (run) => void deferred.push(run),
  });
  const runDeferred = (): void => deferred.splice(0).forEach((run) => run());
  socket.events.message(frame(T.Settings, 0, JSON.stringify(agentSettings)));
  const stream = session.open("t:1", bytesOf("GET"));
  stream.listen({
    data(_bytes, free) {
      free!();
    },
    ...{ drained() {}, end() {}, closed() {}, failed() {} },
  });
  runDeferred();
  socket.takeFrames();
  const message = batch(
    frame(T.Ping, 0, "12345678"),
    frame(T.Data, stream.id, patterned(20_000)),
  );
  // As a socket of Node's hands it over.
  socket.events.message(Buffer.from(message.buffer as ArrayBuffer, 0, message.length));
  assert.equal(message.buffer.byteLength, 0);
  runDeferred();
  const pong = socket.takeFrames().find(({ type }) => type === T.Pong);
  assert.equal(new TextDecoder().decode(pong?.payload), "12345678");
  session.close(1001, "The test is over");
});

Deno.test("Session that was closed is disconnected only once its connection has ended", async () => {
  const socket = new ManualSocket();
  const session = new Session(socket, {
    role: "relay",
    settings: relaySettings,
    offersVersion2: true,
  });
  let isDisconnected = false;
  const disconnected = session.disconnected.then(() => {
    isDisconnected = true;
  });
  session.close(1001, "The test is over");
  await session.closed;
  assert.equal(isDisconnected, false);
  socket.events.closed(1001, "");
  await disconnected;
});
