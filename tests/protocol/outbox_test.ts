/** How a session's frames leave: seen through a session whose network the test plays. */
import assert from "node:assert/strict";
import { CloseCode } from "../../lib/protocol/errors.ts";
import { Session } from "../../lib/protocol/session.ts";
import { agentSettings, ManualSocket, relaySettings, StreamLog } from "./session_setup.ts";
import { assertSame, credit, type Frame, frame, framesOf, joined, patterned, T } from "./wire.ts";

/** More than a socket may hold before streams wait. */
const FULL = 16 * 1024 * 1024;

/** A relay's session of version 2 whose turns of the event loop the test ends itself. */
class Setup implements Disposable {
  readonly socket = new ManualSocket();
  readonly session: Session;
  readonly #deferred: (() => void)[] = [];

  constructor({ window = 1_000_000, maxFrame = 1_024, maxStreams = 100 } = {}) {
    this.session = new Session(this.socket, {
      role: "relay",
      settings: { ...relaySettings, maxStreams },
      offersVersion2: true,
      defer: (flush) => this.#deferred.push(flush),
      nowMs: () => 1_000,
    });
    this.endTurn();
    const settings = { ...agentSettings, window, maxFrame, maxStreams };
    this.socket.events.message(frame(T.Settings, 0, JSON.stringify(settings)));
    this.endTurn();
    this.socket.sent.length = 0;
  }

  open(first: Uint8Array = new Uint8Array(0)): StreamLog {
    return new StreamLog(this.session.open("t:1", first));
  }

  /** What was put off to the end of the turn is run. */
  endTurn(): void {
    for (const run of this.#deferred.splice(0)) run();
  }

  /** The messages of this turn, taken apart. */
  messages(): Frame[][] {
    this.endTurn();
    return this.socket.sent.splice(0).map(framesOf);
  }

  [Symbol.dispose](): void {
    this.session.close(1001, "The test is over");
  }
}

/** Frames as `type/stream/length`. */
function shapes(frames: readonly Frame[]): string[] {
  return frames.map(({ type, stream, payload }) => `${type}/${stream}/${payload.length}`);
}

Deno.test("Outbox sends Settings alone and first", () => {
  const socket = new ManualSocket();
  const deferred: (() => void)[] = [];
  const session = new Session(socket, {
    role: "agent",
    settings: agentSettings,
    offersVersion2: true,
    defer: (flush) => deferred.push(flush),
  });
  const settings = frame(T.Settings, 0, JSON.stringify(relaySettings));
  socket.events.message(settings);
  socket.events.message(frame(T.Ping, 0));
  for (const run of deferred) run();
  session.close(1001, "The test is over");
  const [first, ...rest] = socket.sent;
  assert.deepEqual([first![0], JSON.parse(new TextDecoder().decode(first!.subarray(5)))], [
    T.Settings,
    agentSettings,
  ]);
  assert.deepEqual(rest.map(framesOf).map(shapes), [["6/0/8", "7/0/0"]]);
});

Deno.test("Outbox puts the frames of one turn into one message", () => {
  using setup = new Setup();
  const first = setup.open(patterned(10));
  const second = setup.open(patterned(20));
  first.stream.write(patterned(30));
  second.stream.end();
  assert.deepEqual(setup.messages().map(shapes), [["11/1/15", "11/2/25", "3/1/30", "10/2/0"]]);
});

Deno.test("Outbox sends eight streams that wait before the turn is over", () => {
  using setup = new Setup();
  for (let id = 1; id <= 9; id++) setup.open().stream.end();
  const early = setup.socket.sent.splice(0).map(framesOf).map(shapes);
  const pairs = Array.from({ length: 8 }, (_, at) => [`11/${at + 1}/5`, `10/${at + 1}/0`]);
  assert.deepEqual(early.map((frames) => frames.toSorted()), [pairs.flat().toSorted()]);
  assert.deepEqual(setup.messages().map(shapes), [["11/9/5", "10/9/0"]]);
});

Deno.test("Outbox keeps a stream's order when it is told of room and many write then", () => {
  using setup = new Setup({ maxFrame: 32_768 });
  const { stream } = setup.open();
  setup.messages();
  const body = patterned(30_000);
  const drained = (): void => {
    stream.write(body.subarray(20_000));
    for (let count = 0; count < 9; count++) setup.open();
  };
  stream.listen({ data() {}, end() {}, closed() {}, failed() {}, drained });
  stream.write(body.subarray(0, 20_000));
  const sent = setup.messages().flat().filter((frame) => frame.stream === stream.id);
  assertSame(joined(...sent.map(({ payload }) => payload)), body);
});

Deno.test("Outbox sends a frame that is alone without a Batch around it", () => {
  using setup = new Setup();
  setup.open();
  setup.endTurn();
  assert.deepEqual(setup.socket.sent, [joined(frame(T.Open, 1, "\0\x03t:1"))]);
});

Deno.test("Outbox sends what control there is ahead of all streams' bytes", () => {
  using setup = new Setup();
  const [bulk, given] = [setup.open(), setup.open()];
  setup.messages();
  bulk.stream.write(patterned(100));
  given.stream.close();
  setup.socket.events.message(frame(T.Ping, 0, "12345678"));
  assert.deepEqual(setup.messages().map(shapes), [["5/2/0", "7/0/8", "3/1/100"]]);
});

Deno.test("Outbox gives the streams turns of one frame each", () => {
  using setup = new Setup();
  const [bulk, other] = [setup.open(), setup.open()];
  setup.messages();
  bulk.stream.write(patterned(3_000));
  bulk.stream.end();
  other.stream.write(patterned(1_500));
  assert.deepEqual(setup.messages().map(shapes), [
    ["3/1/1024", "3/2/1024", "3/1/1024", "3/2/476", "10/1/952"],
  ]);
});

Deno.test("Outbox closes a message once it holds 64 KiB", () => {
  using setup = new Setup({ maxFrame: 64 * 1024 });
  const [bulk, small] = [setup.open(), setup.open()];
  setup.messages();
  bulk.stream.write(patterned(200_000));
  small.stream.write(patterned(10));
  assert.deepEqual(setup.messages().map(shapes), [
    ["3/1/65536"],
    ["3/2/10", "3/1/65536"],
    ["3/1/65536"],
    ["3/1/3392"],
  ]);
});

Deno.test("Outbox sends nothing into a full socket until that has drained", () => {
  using setup = new Setup();
  const log = setup.open();
  setup.messages();
  setup.socket.bufferedAmount = FULL;
  log.stream.write(patterned(10));
  setup.socket.events.message(frame(T.Ping, 0, "12345678"));
  assert.deepEqual(setup.messages(), []);
  setup.socket.bufferedAmount = 0;
  setup.socket.events.drained();
  assert.deepEqual(setup.messages().map(shapes), [["7/0/8", "3/1/10"]]);
});

Deno.test("Outbox does not let a small request wait behind a bulk transfer's queue", () => {
  using setup = new Setup({ maxFrame: 64 * 1024 });
  const bulk = setup.open();
  setup.messages();
  setup.socket.bufferedAmount = FULL;
  bulk.stream.write(patterned(900_000));
  setup.messages();
  const small = setup.open(patterned(100));
  small.stream.end();
  setup.socket.bufferedAmount = 0;
  setup.socket.events.drained();
  const [first, second] = setup.messages().map(shapes);
  assert.deepEqual(first, ["11/2/105", "3/1/65536"]);
  assert.deepEqual(second, ["10/2/0", "3/1/65536"]);
});

Deno.test("Outbox closes a session that leaves too many control frames unread", async () => {
  using setup = new Setup();
  setup.socket.bufferedAmount = FULL;
  const ping = frame(T.Ping, 0, new Uint8Array(125));
  let count = 0;
  while (!setup.session.isClosed && count < 1_000_000) {
    setup.socket.events.message(ping);
    count++;
  }
  assert.equal(count, Math.floor(1024 * 1024 / 130) + 1);
  const end = {
    code: CloseCode.TryAgainLater,
    reason: "The peer does not read its control frames",
  };
  assert.deepEqual(setup.socket.closedWith, end);
  assert.deepEqual(await setup.session.closed, end);
});

Deno.test("Outbox counts every byte that it sends", () => {
  using setup = new Setup();
  const before = setup.session.stats.bytesOut;
  setup.open(patterned(100));
  setup.open(patterned(5_000)).stream.end();
  setup.endTurn();
  const bytes = setup.socket.sent.reduce((sum, { length }) => sum + length, 0);
  assert.equal(setup.session.stats.bytesOut - before, bytes);
});

Deno.test("Outbox sends what is ready when the session is closed, and nothing after it", () => {
  using setup = new Setup();
  const log = setup.open(patterned(10));
  log.stream.end();
  setup.session.close(1001, "Over");
  assert.deepEqual(setup.messages().map(shapes), [["11/1/15", "10/1/0"]]);
  setup.socket.events.drained();
  log.stream.write(patterned(10));
  assert.deepEqual(setup.messages(), []);
});

Deno.test("Outbox asks for more once what a stream held has gone", () => {
  using setup = new Setup();
  const log = setup.open();
  setup.messages();
  setup.socket.bufferedAmount = FULL;
  let queuedBytes = 0;
  while (log.stream.write(patterned(1_000))) queuedBytes += 1_000;
  assert.ok(queuedBytes > 0 && queuedBytes < 64 * 1024, `${queuedBytes}`);
  setup.messages();
  assert.equal(log.drainedCount, 0);
  setup.socket.bufferedAmount = 0;
  setup.socket.events.drained();
  assert.deepEqual([log.drainedCount, log.stream.queuedBytes], [1, 0]);
});

Deno.test("Outbox never splits a stream's bytes over more than its credit", () => {
  using setup = new Setup({ window: 10 });
  const log = setup.open(patterned(25));
  assert.deepEqual(setup.messages().map(shapes), [["11/1/15"]]);
  setup.socket.events.message(credit(1, 1));
  assert.deepEqual(setup.messages().map(shapes), [["3/1/1"]]);
  log.stream.end();
  setup.socket.events.message(credit(1, 100));
  assert.deepEqual(setup.messages().map(shapes), [["10/1/14"]]);
});

Deno.test("Outbox sends no message over 256 KiB, whatever is ready: platforms at the edge have limits", () => {
  const most = 256 * 1024;
  const big = patterned(1_000_000);
  const loads: ((setup: Setup) => void)[] = [
    // Streams that open with much, streams that have much, and as many as there may be.
    (setup) => {
      for (let index = 0; index < 100; index++) setup.open(big);
    },
    (setup) => {
      const logs = Array.from({ length: 100 }, () => setup.open());
      setup.endTurn();
      for (const { stream } of logs) stream.write(big);
    },
    // The smallest frames have the most around them.
    (setup) => {
      const logs = Array.from({ length: 90 }, () => setup.open());
      setup.endTurn();
      for (let index = 0; index < 50_000; index++) setup.socket.events.message(frame(T.Ping, 0));
      for (const { stream } of logs) stream.write(big);
    },
  ];
  for (const [index, load] of loads.entries()) {
    using setup = new Setup({ window: 1_000_000, maxFrame: 10_000_000 });
    load(setup);
    setup.endTurn();
    const largest = Math.max(...setup.socket.sent.map(({ length }) => length));
    assert.ok(largest > 60_000 && largest <= most, `load ${index}: ${largest} bytes`);
  }
});
