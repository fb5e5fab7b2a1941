/** A raw connection joined to a stream of a session, as for upgrades. */
import assert from "node:assert/strict";
import { pipe, type PipeOptions } from "../../lib/net/pipe.ts";
import type { Channel } from "../../lib/net/channel.ts";
import { StreamError } from "../../lib/protocol/errors.ts";
import type { StreamEvents } from "../../lib/protocol/stream_events.ts";
import {
  agentSettings,
  relaySettings,
  SessionPair,
  type StreamLog,
} from "../protocol/session_setup.ts";
import { memory } from "../protocol/transports.ts";
import { assertSame, patterned } from "../protocol/wire.ts";
import { eventually } from "../support/deadline.ts";
import { type MemorySocket, memorySockets } from "../support/memory_socket.ts";
import { bytes, Caller } from "./setup.ts";

/** A stream whose agent's end is joined to a socket, and what is at both far ends. */
class Setup implements AsyncDisposable {
  readonly pair: SessionPair;
  /** The relay's end of the stream. */
  readonly log: StreamLog;
  /** Whoever is at the other end of the socket. */
  readonly far: Caller;
  readonly socket: MemorySocket;
  /** Bytes that went to the socket. */
  readonly closedWith: number[] = [];
  /** Bytes that came from it. */
  readonly closedFrom: number[] = [];

  private constructor(
    pair: SessionPair,
    log: StreamLog,
    agentLog: StreamLog,
    options: PipeOptions,
  ) {
    this.pair = pair;
    this.log = log;
    const [far, socket] = memorySockets({ highWaterBytes: 50, pieceBytes: 20 });
    this.far = new Caller(far);
    this.socket = socket;
    pipe(socket, agentLog.stream, {
      ...options,
      closed: (toSocket, fromSocket) => {
        this.closedWith.push(toSocket);
        this.closedFrom.push(fromSocket);
      },
    });
  }

  static async create(options: PipeOptions = {}): Promise<Setup> {
    const small = { window: 100, maxWindow: 100 };
    const pair = await SessionPair.ready(memory, {
      relay: { settings: { ...relaySettings, ...small } },
      agent: { settings: { ...agentSettings, ...small } },
    });
    const [log, { log: agentLog }] = await pair.open();
    return new Setup(pair, log, agentLog, options);
  }

  async settled(): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pair[Symbol.asyncDispose]();
    this.far.socket.destroy();
    await this.settled();
    assert.equal(this.closedWith.length, 1, "its owner is told once");
  }
}

Deno.test("pipe moves bytes both ways through windows and pipes of a few bytes", async () => {
  await using setup = await Setup.create();
  const [up, down] = [patterned(5_000, 1), patterned(5_000, 2)];
  setup.far.socket.write(up);
  await setup.log.send(down, 700);
  await setup.log.untilBytes(5_000);
  await setup.far.until(() => setup.far.length === 5_000, "all bytes");
  assertSame(setup.log.bytes, up);
  assertSame(bytes(setup.far.text), down);
});

Deno.test("pipe begins with what each side had read before", async () => {
  await using setup = await Setup.create({
    head: bytes("up first "),
    streamHead: bytes("down first "),
  });
  setup.far.send("up then");
  setup.log.stream.write(bytes("down then"));
  await setup.log.untilBytes("up first up then".length);
  await setup.far.until(() => setup.far.length === "down first down then".length, "all bytes");
  assert.deepEqual([setup.log.text, setup.far.text], ["up first up then", "down first down then"]);
});

Deno.test("pipe passes an end of one direction on as that and lets the other run", async () => {
  await using setup = await Setup.create();
  setup.far.send("last up");
  setup.far.socket.end();
  await setup.log.untilEvent("end");
  assert.equal(setup.log.text, "last up");
  setup.log.stream.write(bytes("still down"));
  await setup.far.until(
    () => setup.far.text === "still down",
    "bytes after the end of the other way",
  );
  setup.log.stream.end();
  assert.deepEqual(await setup.far.closed(), ["end", "close"]);
  await setup.settled();
  assert.deepEqual([setup.closedWith, setup.log.events], [["still down".length], ["end"]]);
  assert.deepEqual(setup.closedFrom, ["last up".length]);
  assert.equal(setup.pair.agent.openStreams, 0);
});

Deno.test("pipe passes the end of a stream on first as well", async () => {
  await using setup = await Setup.create();
  setup.log.stream.write(bytes("request"));
  setup.log.stream.end();
  assert.equal(await setup.far.ended(), "request");
  setup.far.send("answer");
  setup.far.socket.end();
  await setup.log.untilEvent("end");
  assert.deepEqual([setup.log.text, setup.log.events], ["answer", ["end"]]);
  assert.deepEqual(await setup.far.closed(), ["end", "close"]);
});

Deno.test("pipe passes a stream's error on as a break, never as an end", async () => {
  await using setup = await Setup.create();
  setup.log.stream.write(bytes("half"));
  await setup.far.until(() => setup.far.text === "half", "the bytes before");
  setup.log.stream.fail(new StreamError("reset", "gone"));
  assert.deepEqual(await setup.far.closed(), ["error ECONNRESET", "close"]);
});

Deno.test("pipe passes a stream given up in the middle on as a break", async () => {
  await using setup = await Setup.create();
  setup.log.stream.close();
  assert.deepEqual(await setup.far.closed(), ["error ECONNRESET", "close"]);
});

Deno.test("pipe passes the session's end on as a break", async () => {
  await using setup = await Setup.create();
  setup.pair.relay.close(1001, "Over");
  assert.deepEqual(await setup.far.closed(), ["error ECONNRESET", "close"]);
});

Deno.test("pipe passes a break of the socket on as a failure of the stream", async () => {
  await using setup = await Setup.create();
  setup.far.send("half");
  await setup.log.untilBytes(4);
  setup.far.socket.resetAndDestroy();
  await setup.log.untilEvent("failed");
  assert.deepEqual(setup.log.events, ["failed reset: The connection broke"]);
});

Deno.test("pipe sends everything to a far end that is slow before it closes", async () => {
  await using setup = await Setup.create();
  setup.far.socket.pause();
  setup.log.stream.write(patterned(90));
  setup.log.stream.finish();
  await setup.settled();
  setup.far.socket.resume();
  await setup.far.ended();
  assertSame(bytes(setup.far.text), patterned(90));
});

Deno.test("pipe stops the stream's peer while the far end does not read", async () => {
  await using setup = await Setup.create();
  setup.far.socket.pause();
  setup.log.stream.write(patterned(5_000));
  await setup.settled();
  assert.ok(setup.socket.writableLength <= 100, `${setup.socket.writableLength}`);
  assert.ok(setup.log.stream.queuedBytes >= 4_800, `${setup.log.stream.queuedBytes}`);
  setup.far.socket.resume();
  await setup.far.until(() => setup.far.length === 5_000, "all bytes");
  assertSame(bytes(setup.far.text), patterned(5_000));
});

Deno.test("pipe stops the far end while the stream's peer does not read", async () => {
  await using setup = await Setup.create();
  setup.log.takesAtOnce = false;
  const content = patterned(200_000);
  setup.far.socket.write(content);
  // More than the stream holds: it stops the socket.
  await eventually(() => setup.socket.isPaused, "the socket to be stopped");
  assert.equal(setup.log.length, 100);
  assert.ok(setup.far.socket.writableLength > 100_000, `${setup.far.socket.writableLength}`);
  setup.log.flow();
  await setup.log.untilBytes(content.length);
  assertSame(setup.log.bytes, content);
});

async function endBehindClose(): Promise<void> {
  const [far, socket] = memorySockets({});
  let events: StreamEvents | undefined;
  let hasEnded = false;
  let hasFinished = false;
  const stream: Channel = {
    canHalfClose: true,
    listen: (to) => events = to,
    write: () => true,
    end: () => hasEnded = true,
    // Bytes of ours wait for credit: the other side has not heard of it.
    finish: () => hasFinished = true,
    close() {},
    fail() {},
    consumed() {},
  };
  pipe(socket, stream);
  far.end();
  await eventually(() => hasEnded, "the end of the caller's half");
  far.resetAndDestroy();
  await eventually(() => hasFinished, "the socket's close");
  // What they began to wait for would never come; the test runner finds a timer that is left.
  events!.end();
  events!.closed();
}

Deno.test({
  name: "pipe waits for no close of a socket that has closed before its stream's end",
  sanitizeOps: true,
  fn: endBehindClose,
});
