/** What a session is to a peer that speaks only version 1 (argocd-cluster-proxy's). */
import assert from "node:assert/strict";
import { StreamError } from "../../lib/protocol/errors.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { SessionOptions } from "../../lib/protocol/session_options.ts";
import { within } from "../support/deadline.ts";
import {
  agentSettings,
  ManualSocket,
  RawPair,
  relaySettings,
  SessionPair,
  StreamLog,
} from "./session_setup.ts";
import { type Transport, transports } from "./transports.ts";
import {
  assertSame,
  batch,
  bytesOf,
  credit,
  type Frame,
  frame,
  joined,
  open,
  patterned,
  T,
} from "./wire.ts";

/** Registers a test once for each kind of WebSocket. */
function overEach(name: string, run: (transport: Transport) => Promise<void>): void {
  for (const transport of transports) {
    Deno.test(`Session in version 1 ${name} (${transport.name})`, () => run(transport));
  }
}

const plain = { offersVersion2: false };

/** A relay's session whose agent announced nothing. */
function connectRelay(transport: Transport): Promise<RawPair> {
  return RawPair.connect(transport, "relay", plain);
}

/** Frames on a stream as `type: text`. */
function saidOn(stream: number, frames: readonly Frame[]): string[] {
  return frames.filter((item) => item.stream === stream)
    .map(({ type, payload }) => `${type}: ${new TextDecoder().decode(payload)}`);
}

overEach("carries a request and its answer between both sides", async (transport) => {
  await using pair = await SessionPair.connect(transport, { relay: plain });
  await within(pair.relay.ready, "the relay to be ready");
  const [log, { target, log: agentLog }] = await pair.open("GET", "service:80");
  await within(pair.agent.ready, "the agent to be ready");
  await agentLog.untilBytes(3);
  await agentLog.send(patterned(100_000));
  agentLog.stream.finish();
  await log.untilEvent("closed");
  assert.deepEqual([pair.relay.version, pair.agent.version], [1, 1]);
  assert.deepEqual([pair.relay.peer, pair.agent.peer], [undefined, undefined]);
  assert.deepEqual([target, agentLog.text], ["service:80", "GET"]);
  assertSame(log.bytes, patterned(100_000));
  assert.deepEqual([log.events, agentLog.events], [["end", "closed"], []]);
  assert.deepEqual([pair.relay.openStreams, pair.agent.openStreams], [0, 0]);
});

overEach("says nothing before the relay has a request", async (transport) => {
  await using pair = await connectRelay(transport);
  await within(pair.session.ready, "the relay to be ready");
  await pair.peer.roundTrip();
  assert.deepEqual(pair.peer.frames.map(({ type }) => type), [T.Pong]);
});

overEach("holds the relay's bytes back until Connected", async (transport) => {
  await using pair = await connectRelay(transport);
  const stream = pair.session.open("service:80", bytesOf("GET "));
  stream.write(bytesOf("/ "));
  await pair.peer.frame(T.Connect, 1);
  await pair.peer.roundTrip();
  assert.deepEqual(saidOn(1, pair.peer.frames), ["1: service:80"]);
  pair.peer.send(frame(T.Connected, 1));
  await pair.peer.roundTrip();
  stream.write(bytesOf("HTTP/1.1"));
  await pair.peer.roundTrip();
  assert.deepEqual(saidOn(1, pair.peer.frames).slice(1), ["3: GET ", "3: / ", "3: HTTP/1.1"]);
});

overEach("repeats Close for a stream that the agent connects too late", async (transport) => {
  await using pair = await connectRelay(transport);
  const stream = pair.session.open("service:80", bytesOf("GET"));
  stream.close();
  await pair.peer.frame(T.Close, 1);
  // A version 1 agent knows a stream from its Connected on: the Close before it was lost.
  pair.peer.send(frame(T.Connected, 1), frame(T.Data, 1, "late"));
  await pair.peer.roundTrip();
  assert.deepEqual(saidOn(1, pair.peer.frames), ["1: service:80", "5: ", "5: "]);
  assert.equal(pair.session.openStreams, 0);
});

overEach("sends frames of at most 32 KiB, each in a message of its own", async (transport) => {
  await using pair = await connectRelay(transport);
  const content = patterned(100_000);
  const stream = pair.session.open("service:80", content);
  pair.peer.send(frame(T.Connected, 1));
  const received = () => pair.peer.frames.filter(({ type }) => type === T.Data);
  const total = () => received().reduce((sum, { payload }) => sum + payload.length, 0);
  await pair.peer.until(() => total() === content.length, "all bytes");
  assertSame(joined(...received().map(({ payload }) => payload)), content);
  assert.deepEqual(received().map(({ payload }) => payload.length), [
    32_768,
    32_768,
    32_768,
    1_696,
  ]);
  assert.ok(!pair.peer.hasSeenBatch);
  stream.close();
});

overEach("takes Close for the end of the answer", async (transport) => {
  await using pair = await connectRelay(transport);
  const log = new StreamLog(pair.session.open("service:80", bytesOf("GET")));
  pair.peer.send(frame(T.Connected, 1), frame(T.Data, 1, "answer"), frame(T.Close, 1));
  await log.untilEvent("closed");
  assert.deepEqual([log.text, log.events], ["answer", ["end", "closed"]]);
});

overEach("takes Error for a reset with its text as the reason", async (transport) => {
  await using pair = await connectRelay(transport);
  const log = new StreamLog(pair.session.open("service:80", bytesOf("GET")));
  pair.peer.send(frame(T.Error, 1, "dial tcp: connection refused"));
  await log.untilEvent("failed");
  assert.deepEqual(log.events, ["failed reset: dial tcp: connection refused"]);
});

overEach("answers Connect with Connected and fails with plain text", async (transport) => {
  await using pair = await RawPair.connect(transport, "agent");
  pair.peer.send(frame(T.Connect, 3, "service:80"), frame(T.Data, 3, "GET"));
  await pair.peer.frame(T.Connected, 3);
  await within(pair.session.ready, "the agent to be ready");
  await pair.peer.roundTrip();
  const [{ target, log }] = pair.accepted as [typeof pair.accepted[0]];
  assert.deepEqual([pair.session.version, target, log.text], [1, "service:80", "GET"]);
  log.stream.fail(new StreamError("unreachable", "no route to host"));
  await pair.peer.frame(T.Error, 3);
  assert.deepEqual(saidOn(3, pair.peer.frames), ["2: ", "4: no route to host"]);
});

overEach("has no word for half-close and closes once all is sent", async (transport) => {
  await using pair = await RawPair.connect(transport, "agent");
  pair.peer.send(frame(T.Connect, 3, "service:80"));
  await pair.peer.frame(T.Connected, 3);
  const { stream } = pair.accepted[0]!.log;
  assert.equal(stream.canHalfClose, false);
  stream.end();
  stream.write(bytesOf("answer"));
  stream.finish();
  await pair.peer.frame(T.Close, 3);
  assert.deepEqual(saidOn(3, pair.peer.frames), ["2: ", "3: answer", "5: "]);
});

overEach("drains without a word and lets open streams finish", async (transport) => {
  await using pair = await connectRelay(transport);
  pair.session.open("service:80", bytesOf("GET"));
  const drained = pair.session.drain(20_000);
  pair.peer.send(frame(T.Connected, 1));
  await pair.peer.frame(T.Data, 1);
  pair.peer.send(frame(T.Data, 1, "answer"), frame(T.Close, 1));
  await within(drained, "the drain to end");
  await pair.peer.roundTrip();
  assert.deepEqual(pair.peer.frames.map(({ type }) => type), [T.Connect, T.Data, T.Pong]);
});

/** What only version 2 has; to version 1 these are unknown types, which are ignored. */
const VERSION_2_FRAMES = [
  credit(1, 0x7fffffff),
  credit(1, 0x7fffffff),
  frame(T.Credit, 1, "malformed"),
  frame(T.End, 1, "no bytes of the answer"),
  open(9, "service:80", "GET"),
  frame(T.Open, 0),
  batch(frame(T.Data, 1, "no bytes of the answer")),
  frame(T.Batch, 7, "malformed"),
  frame(T.Drain, 0),
];

overEach("of the relay ignores what only version 2 has", async (transport) => {
  await using pair = await connectRelay(transport);
  const log = new StreamLog(pair.session.open("service:80", bytesOf("GET")));
  const settings = frame(T.Settings, 0, JSON.stringify(agentSettings));
  pair.peer.send(frame(T.Connected, 1), ...VERSION_2_FRAMES, settings, frame(T.Data, 1, "answer"));
  await pair.peer.roundTrip();
  assert.deepEqual([log.text, log.events], ["answer", []]);
  assert.deepEqual([pair.session.version, pair.session.isDraining], [1, false]);
});

overEach("of the agent ignores what only version 2 has", async (transport) => {
  await using pair = await RawPair.connect(transport, "agent");
  pair.peer.send(frame(T.Connect, 1, "service:80"), ...VERSION_2_FRAMES, frame(T.Data, 1, "GET"));
  await pair.peer.roundTrip();
  assert.deepEqual(pair.accepted.map(({ log }) => [log.stream.id, log.text, log.events]), [
    [1, "GET", []],
  ]);
  assert.deepEqual([pair.session.version, pair.session.isDraining], [1, false]);
});

overEach("of the agent takes no Settings that are not the first frame", async (transport) => {
  await using pair = await RawPair.connect(transport, "agent");
  pair.peer.send(frame(T.Ping, 0), frame(T.Settings, 0, JSON.stringify(relaySettings)));
  const { code, reason } = await within(pair.session.closed, "the session to end");
  assert.equal(code, 1002);
  assert.match(
    reason,
    /^Settings must be the first frame \(Settings frame on stream 0 of \d+ bytes\)$/,
  );
});

const MiB = 1024 * 1024;

/** A session of version 1 over a socket that the test plays, with streams 1 to `count` open. */
class Paused implements Disposable {
  readonly socket = new ManualSocket();
  readonly session: Session;
  readonly logs: StreamLog[] = [];
  nowMs = 0;

  constructor(count: number, options: Partial<SessionOptions> = {}) {
    this.session = new Session(this.socket, {
      role: "agent",
      settings: agentSettings,
      offersVersion2: true,
      nowMs: () => this.nowMs,
      events: {
        opened: (stream) => this.logs.push(new StreamLog(stream, { takesAtOnce: false })),
      },
      ...options,
    });
    for (let id = 1; id <= count; id++) this.socket.events.message(frame(T.Connect, id, "t:1"));
  }

  /** Bytes arrive on a stream. */
  arrive(id: number, bytes: number): void {
    this.socket.events.message(frame(T.Data, id, new Uint8Array(bytes)));
  }

  [Symbol.dispose](): void {
    this.session.close(1001, "The test is over");
  }
}

Deno.test("Session in version 1 stops reading while its streams' owners hold over 4 MiB", () => {
  using setup = new Paused(2);
  setup.arrive(1, 3 * MiB);
  setup.arrive(2, MiB);
  assert.equal(setup.socket.isPaused, false);
  setup.arrive(2, 1);
  assert.equal(setup.socket.isPaused, true);
  setup.logs[0]!.stream.consumed(2 * MiB + 1);
  assert.equal(setup.socket.isPaused, true);
  setup.logs[0]!.stream.consumed(1);
  assert.equal(setup.socket.isPaused, false);
});

Deno.test("Session in version 1 is not dead while it does not read", () => {
  using setup = new Paused(1, { pingIntervalMs: 15_000, idleTimeoutMs: 45_000 });
  setup.arrive(1, 5 * MiB);
  setup.nowMs += 100_000;
  setup.logs[0]!.takeAll();
  assert.deepEqual([setup.socket.isPaused, setup.session.isClosed], [false, false]);
});

for (const way of ["close", "fail", "finish"] as const) {
  Deno.test(`Session in version 1 reads on after a stream with bytes in hand ended by ${way}`, () => {
    using setup = new Paused(2);
    setup.arrive(1, 5 * MiB);
    assert.equal(setup.socket.isPaused, true);
    setup.logs[0]!.stream[way](new StreamError("internal", "given up"));
    assert.equal(setup.socket.isPaused, false);
    // Nothing of it counts any more, whatever its owner does.
    setup.logs[0]!.takeAll();
    setup.arrive(2, 4 * MiB);
    assert.equal(setup.socket.isPaused, false);
  });
}

Deno.test("Session in version 1 waits for the owner of an answer that the peer has closed", () => {
  using setup = new Paused(1);
  setup.arrive(1, 5 * MiB);
  setup.socket.events.message(frame(T.Close, 1));
  assert.equal(setup.socket.isPaused, true);
  setup.logs[0]!.takeAll();
  assert.equal(setup.socket.isPaused, false);
});
