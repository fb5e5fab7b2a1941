/** A stream as its owner sees it, in a session of version 2 whose network the test plays. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { StreamError } from "../../lib/protocol/errors.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import { check } from "./property.ts";
import { agentSettings, ManualSocket, relaySettings, StreamLog } from "./session_setup.ts";
import { bytesOf, credit, type Frame, frame, joined, open, patterned, T } from "./wire.ts";

/** What the sessions' line takes. */
const ROUND_TRIP_MS = 20;

/** An agent's session with windows of 100 bytes both ways. */
class Setup implements Disposable {
  readonly socket = new ManualSocket();
  readonly session: Session;
  readonly logs: StreamLog[] = [];
  nowMs = 0;
  readonly #deferred: (() => void)[] = [];

  constructor({ window = 100, maxWindow = 100, windowBudgetBytes = 0, peerWindow = 100 } = {}) {
    this.session = new Session(this.socket, {
      role: "agent",
      settings: { ...agentSettings, window, maxWindow },
      offersVersion2: true,
      windowBudgetBytes,
      nowMs: () => this.nowMs,
      defer: (flush) => this.#deferred.push(flush),
      events: {
        opened: (stream) => this.logs.push(new StreamLog(stream, { takesAtOnce: false })),
      },
    });
    const settings = { ...relaySettings, window: peerWindow };
    this.receive(frame(T.Settings, 0, JSON.stringify(settings)));
    const ping = this.sentFrames().find(({ type }) => type === T.Ping)!;
    this.nowMs += ROUND_TRIP_MS;
    this.receive(frame(T.Pong, 0, ping.payload));
  }

  /** The peer opens a stream. */
  accept(id: number, first = ""): StreamLog {
    this.receive(open(id, "t:1", first));
    return this.logs.at(-1)!;
  }

  receive(...messages: Uint8Array[]): void {
    for (const message of messages) this.socket.events.message(message);
  }

  /** The frames of this turn as `type/stream/text`. */
  sent(): string[] {
    return this.sentFrames().map(({ type, stream, payload }) =>
      `${type}/${stream}/${new TextDecoder().decode(payload)}`
    );
  }

  sentFrames(): Frame[] {
    for (const run of this.#deferred.splice(0)) run();
    return this.socket.takeFrames();
  }

  [Symbol.dispose](): void {
    this.session.close(1001, "The test is over");
  }
}

/** A stream whose half this side has ended and that is still open. */
function acceptEnded(setup: Setup): StreamLog {
  const log = setup.accept(1);
  log.stream.end();
  setup.sent();
  return log;
}

Deno.test("Stream.end sends End behind what is queued, with the last bytes", () => {
  using setup = new Setup();
  const { stream } = setup.accept(1);
  stream.write(bytesOf("one "));
  stream.write(bytesOf("two"));
  stream.end();
  assert.deepEqual(setup.sent(), ["3/1/one ", "10/1/two"]);
});

Deno.test("Stream.end sends End alone when nothing is queued", () => {
  using setup = new Setup();
  setup.accept(1).stream.end();
  assert.deepEqual(setup.sent(), ["10/1/"]);
});

Deno.test("Stream.end holds End back with the bytes that have no credit", () => {
  using setup = new Setup({ peerWindow: 3 });
  const { stream } = setup.accept(1);
  stream.write(bytesOf("abcde"));
  stream.end();
  assert.deepEqual(setup.sent(), ["3/1/abc"]);
  setup.receive(credit(1, 2));
  assert.deepEqual(setup.sent(), ["10/1/de"]);
});

Deno.test("Stream.end needs no credit for an End without bytes", () => {
  using setup = new Setup({ peerWindow: 3 });
  const { stream } = setup.accept(1);
  stream.write(bytesOf("abc"));
  setup.sent();
  stream.end();
  assert.deepEqual(setup.sent(), ["10/1/"]);
});

Deno.test("Stream.write after end is dropped", () => {
  using setup = new Setup();
  const { stream } = acceptEnded(setup);
  assert.equal(stream.write(bytesOf("late")), true);
  stream.end();
  assert.deepEqual(setup.sent(), []);
});

Deno.test("Stream is over once both halves have ended", () => {
  using setup = new Setup();
  const log = acceptEnded(setup);
  assert.equal(setup.session.openStreams, 1);
  setup.receive(frame(T.End, 1, "last"));
  assert.deepEqual([log.text, log.events], ["last", ["end"]]);
  assert.deepEqual([setup.session.openStreams, log.stream.isOver], [0, true]);
});

Deno.test("Stream.finish sends what is queued, End, and Close to a peer that still sends", () => {
  using setup = new Setup();
  const { stream } = setup.accept(1);
  stream.write(bytesOf("answer"));
  stream.finish();
  assert.deepEqual(setup.sent(), ["10/1/answer", "5/1/"]);
  assert.equal(stream.isOver, true);
});

Deno.test("Stream.finish sends no Close to a peer that has ended", () => {
  using setup = new Setup();
  const { stream } = setup.accept(1);
  setup.receive(frame(T.End, 1));
  stream.write(bytesOf("answer"));
  stream.finish();
  assert.deepEqual(setup.sent(), ["10/1/answer"]);
  assert.equal(stream.isOver, true);
});

Deno.test("Stream.finish after end sends the Close alone", () => {
  using setup = new Setup();
  const { stream } = acceptEnded(setup);
  stream.finish();
  assert.deepEqual(setup.sent(), ["5/1/"]);
});

Deno.test("Stream.finish waits for credit and sends nothing twice", () => {
  using setup = new Setup({ peerWindow: 3 });
  const { stream } = setup.accept(1);
  stream.write(bytesOf("abcde"));
  stream.finish();
  stream.finish();
  assert.deepEqual(setup.sent(), ["3/1/abc"]);
  setup.receive(frame(T.End, 1), credit(1, 10));
  assert.deepEqual(setup.sent(), ["10/1/de"]);
  assert.equal(setup.session.openStreams, 0);
});

Deno.test("Stream.close drops what is queued and says Close once", () => {
  using setup = new Setup({ peerWindow: 3 });
  const { stream } = setup.accept(1);
  stream.write(bytesOf("abcde"));
  stream.close();
  stream.close();
  stream.fail(new StreamError("internal", "late"));
  assert.deepEqual([setup.sent(), stream.queuedBytes], [["5/1/"], 0]);
});

Deno.test("Stream.fail says Error with code and message once", () => {
  using setup = new Setup();
  const { stream } = setup.accept(1);
  stream.fail(new StreamError("timeout", "No connection within 1 ms"));
  stream.fail(new StreamError("internal", "late"));
  stream.close();
  assert.deepEqual(setup.sent(), ['4/1/{"code":"timeout","message":"No connection within 1 ms"}']);
});

Deno.test("Stream tells its owner of Close after End without harm to what has arrived", () => {
  using setup = new Setup();
  const log = setup.accept(1);
  setup.receive(frame(T.End, 1, "request"), frame(T.Close, 1));
  assert.deepEqual([log.text, log.events], ["request", ["end", "closed"]]);
});

Deno.test("Stream tells its owner of Close in the middle without an end", () => {
  using setup = new Setup();
  const log = setup.accept(1, "half");
  setup.receive(frame(T.Close, 1));
  assert.deepEqual([log.text, log.events], ["half", ["closed"]]);
});

Deno.test("Stream.consumed grants again what was taken, from half a window on", () => {
  using setup = new Setup();
  const { stream } = setup.accept(1, "x".repeat(80));
  stream.consumed(49);
  assert.deepEqual(setup.sentFrames(), []);
  stream.consumed(1);
  const [grant, ...more] = setup.sentFrames();
  assert.deepEqual([grant!.type, grant!.stream, [...grant!.payload]], [T.Credit, 1, [0, 0, 0, 50]]);
  assert.deepEqual(more, []);
});

Deno.test("Stream.consumed grants nothing to a peer that has ended", () => {
  using setup = new Setup();
  const { stream } = setup.accept(1, "x".repeat(50));
  setup.receive(frame(T.End, 1, "x".repeat(50)));
  stream.consumed(100);
  assert.deepEqual(setup.sent(), []);
});

Deno.test("Stream tells its owner once, when half of what it held back has gone", () => {
  using setup = new Setup({ peerWindow: 1 });
  const { stream } = setup.accept(1);
  setup.receive(credit(1, 400_000));
  const leftWhenTold: number[] = [];
  stream.listen({
    data() {},
    end() {},
    closed() {},
    failed() {},
    drained: () => leftWhenTold.push(stream.queuedBytes),
  });
  let written = 0;
  do written += 1_000; while (stream.write(patterned(1_000)));
  setup.sent();
  assert.deepEqual([written, stream.queuedBytes, leftWhenTold.length], [400_000, 0, 1]);
  const left = leftWhenTold[0]!;
  assert.ok(left <= written / 2 && left > written / 4, `${left}`);
});

Deno.test("Stream asks for nothing more while the peer has granted no credit for it", () => {
  using setup = new Setup({ peerWindow: 100 });
  const log = setup.accept(1);
  while (log.stream.write(patterned(1_000)));
  setup.sent();
  setup.receive(credit(1, log.stream.queuedBytes));
  setup.sent();
  assert.deepEqual([log.stream.queuedBytes, log.drainedCount], [0, 0]);
  setup.receive(credit(1, 1));
  assert.equal(log.drainedCount, 1);
});

/** Bytes that are overwritten as soon as they are given back, and how often they were. */
function freeable(length: number): { bytes: Uint8Array; free: () => void; frees: number } {
  const bytes = patterned(length);
  return {
    bytes,
    frees: 0,
    free() {
      this.frees++;
      bytes.fill(0);
    },
  };
}

/** The payloads of this turn's Data frames, joined. */
function sentData(setup: Setup): Uint8Array {
  return joined(...setup.sentFrames().map(({ payload }) => payload));
}

Deno.test("Stream gives the memory of its bytes back once all of them are in messages", () => {
  using setup = new Setup({ peerWindow: 1_000_000 });
  const { stream } = setup.accept(1);
  const [one, two] = [freeable(150_000), freeable(100)];
  stream.write(one.bytes, () => one.free());
  stream.write(two.bytes, () => two.free());
  assert.deepEqual([one.frees, two.frees], [0, 0]);
  assert.deepEqual(sentData(setup), joined(patterned(150_000), patterned(100)));
  assert.deepEqual([one.frees, two.frees], [1, 1]);
});

Deno.test("Stream gives memory back of which a part waits for credit, and sends that part later", () => {
  using setup = new Setup({ peerWindow: 100 });
  const { stream } = setup.accept(1);
  const [one, two] = [freeable(150), freeable(150)];
  stream.write(one.bytes, () => one.free());
  stream.write(two.bytes, () => two.free());
  const all = joined(patterned(150), patterned(150));
  assert.deepEqual(sentData(setup), all.subarray(0, 100));
  assert.deepEqual([one.frees, two.frees], [1, 0]);
  setup.receive(credit(1, 25));
  assert.deepEqual(sentData(setup), all.subarray(100, 125));
  setup.receive(credit(1, 100));
  assert.deepEqual(sentData(setup), all.subarray(125, 225));
  assert.deepEqual([one.frees, two.frees], [1, 1]);
  setup.receive(credit(1, 100));
  assert.deepEqual(sentData(setup), all.subarray(225));
  assert.deepEqual([one.frees, two.frees], [1, 1]);
});

Deno.test("Stream holds little more than what is still to be sent, however slowly credit comes", () => {
  using setup = new Setup({ peerWindow: 16 * 1024 });
  const { stream } = setup.accept(1);
  const content = patterned(64 * 1024);
  const memory = new Uint8Array(content);
  stream.write(memory, () => void memory.buffer.transfer(0));
  const sent = [sentData(setup)];
  assert.equal(memory.length, 0);
  for (let rest = 48 * 1024; rest > 0; rest -= 4 * 1024) {
    setup.receive(credit(1, 4 * 1024));
    sent.push(sentData(setup));
  }
  assert.deepEqual(joined(...sent), content);
});

Deno.test("Stream never gives back the memory of bytes that it has not sent when it ends", () => {
  using setup = new Setup({ peerWindow: 100 });
  const { stream } = setup.accept(1);
  const one = freeable(50);
  const two = freeable(100);
  stream.write(one.bytes, () => one.free());
  stream.write(two.bytes, () => two.free());
  stream.close();
  setup.receive(credit(1, 1_000));
  setup.sent();
  assert.deepEqual([one.frees, two.frees], [0, 0]);
});

Deno.test("Stream sends what was written, whenever credit comes and memory goes back", () => {
  const step = fc.record({ length: fc.nat(400), credit: fc.nat(400), isLent: fc.boolean() });
  check(fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
    using setup = new Setup({ peerWindow: 100 });
    const { stream } = setup.accept(1);
    const written: Uint8Array[] = [];
    const sent: Uint8Array[] = [];
    const given = steps.filter(({ isLent, length }) => isLent && length > 0).length;
    let frees = 0;
    for (const { length, credit: bytes, isLent } of steps) {
      const piece = freeable(length);
      written.push(patterned(length));
      const free = (): void => {
        piece.free();
        frees++;
      };
      stream.write(piece.bytes, isLent ? free : undefined);
      sent.push(sentData(setup));
      if (bytes > 0) setup.receive(credit(1, bytes));
      sent.push(sentData(setup));
    }
    setup.receive(credit(1, 1_000_000));
    sent.push(sentData(setup));
    assert.deepEqual(joined(...sent), joined(...written));
    assert.equal(frees, given);
  }));
});

Deno.test("Stream can be given up by its owner while it is being told of room", () => {
  using setup = new Setup({ peerWindow: 1 });
  const { stream } = setup.accept(1);
  let drainedCount = 0;
  stream.listen({
    data() {},
    end() {},
    closed() {},
    failed() {},
    drained() {
      drainedCount++;
      stream.close();
    },
  });
  while (stream.write(patterned(1_000)));
  setup.receive(credit(1, 1_000_000));
  setup.sent();
  assert.deepEqual([drainedCount, setup.session.openStreams], [1, 0]);
});

Deno.test("Stream can be given up by its owner while it is being told of data", () => {
  using setup = new Setup();
  const events: string[] = [];
  const streams: Stream[] = [setup.accept(1).stream, setup.accept(2).stream];
  streams[0]!.listen({
    data() {
      events.push("data");
      for (const stream of streams) stream.close();
    },
    end: () => events.push("end"),
    closed: () => events.push("closed"),
    failed: () => events.push("failed"),
    drained() {},
  });
  setup.receive(frame(T.End, 1, "x"), frame(T.Data, 2, "x"), frame(T.Data, 1, "x"));
  assert.deepEqual([events, setup.logs[1]!.text, setup.sent()], [["data"], "", ["5/1/", "5/2/"]]);
});

Deno.test("Stream gives the memory of its widened window back when it ends, in every way", () => {
  const ways: [string, (setup: Setup, stream: Stream) => void][] = [
    ["close", (_, stream) => stream.close()],
    ["fail", (_, stream) => stream.fail(new StreamError("internal", "given up"))],
    ["Close", (setup, { id }) => setup.receive(frame(T.Close, id))],
    ["Error", (setup, { id }) => setup.receive(frame(T.Error, id, "reason"))],
    ["both ends", (setup, stream) => {
      stream.end();
      setup.sent();
      setup.receive(frame(T.End, stream.id));
    }],
    ["finish", (setup, stream) => {
      stream.finish();
      setup.sent();
    }],
  ];
  using setup = new Setup({ maxWindow: 1_000, windowBudgetBytes: 100 });
  /** Has a stream take a whole window at once and gives what it is granted then. */
  const grantOf = (id: number): number => {
    const { stream } = setup.accept(id, "x".repeat(100));
    setup.nowMs += ROUND_TRIP_MS;
    stream.consumed(100);
    const grant = setup.sentFrames().find(({ type }) => type === T.Credit)!;
    return new DataView(grant.payload.buffer, grant.payload.byteOffset).getUint32(0);
  };
  let id = 1;
  for (const [name, end] of [...ways, ways[0]!]) {
    assert.equal(grantOf(id), 200, `the budget's 100 bytes are there, now to end by ${name}`);
    const wide = setup.logs.at(-1)!.stream;
    assert.equal(grantOf(id + 1), 100, "no budget is left for a second stream");
    end(setup, wide);
    id += 2;
  }
});
