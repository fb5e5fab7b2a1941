import assert from "node:assert/strict";
import { maxTurnFrames } from "../../lib/protocol/inbox.ts";
import { Session } from "../../lib/protocol/session.ts";
import { agentSettings, ManualSocket, relaySettings, StreamLog } from "./session_setup.ts";
import { batch, bytesOf, frame, T } from "./wire.ts";

/** A relay's session whose socket is played by hand, with one open stream. */
class Setup implements Disposable {
  readonly socket = new ManualSocket();
  readonly session = new Session(this.socket, {
    role: "relay",
    settings: relaySettings,
    offersVersion2: true,
  });
  readonly log: StreamLog;

  constructor() {
    this.receive(frame(T.Settings, 0, JSON.stringify(agentSettings)));
    this.log = new StreamLog(this.session.open("t:1", bytesOf("")));
  }

  receive(message: Uint8Array): void {
    this.socket.events.message(message);
  }

  [Symbol.dispose](): void {
    this.session.close(1001, "The test is over");
  }
}

const byte = frame(T.Data, 1, "x");

function bytes(count: number): Uint8Array {
  return batch(...Array<Uint8Array>(count).fill(byte));
}

Deno.test("Inbox reads a bounded number of frames in a turn, and the rest in the turns that follow", async () => {
  using setup = new Setup();
  setup.receive(bytes(3 * maxTurnFrames + 1));
  assert.deepEqual([setup.log.length, setup.socket.isPaused], [maxTurnFrames, true]);
  await setup.log.untilBytes(2 * maxTurnFrames);
  assert.equal(setup.log.length, 2 * maxTurnFrames);
  await setup.log.untilBytes(3 * maxTurnFrames + 1);
  assert.equal(setup.socket.isPaused, false);
});

Deno.test("Inbox lets timers run between the parts of a message", async () => {
  using setup = new Setup();
  const lengths: number[] = [];
  const timer = setInterval(() => lengths.push(setup.log.length), 0);
  setup.receive(bytes(10 * maxTurnFrames));
  await setup.log.untilBytes(10 * maxTurnFrames);
  clearInterval(timer);
  assert.ok(lengths.some((length) => length > 0 && length < 10 * maxTurnFrames));
});

Deno.test("Inbox keeps the order of messages that come while one waits", async () => {
  using setup = new Setup();
  setup.receive(bytes(maxTurnFrames + 1));
  setup.receive(frame(T.Data, 1, "abc"));
  setup.receive(frame(T.End, 1, "d"));
  assert.equal(setup.log.length, maxTurnFrames);
  await setup.log.untilEvent("end");
  assert.equal(setup.log.text.slice(maxTurnFrames), "xabcd");
});

Deno.test("Inbox reads all that came before the socket closed", async () => {
  using setup = new Setup();
  setup.receive(bytes(2 * maxTurnFrames));
  setup.receive(frame(T.End, 1, "last"));
  setup.socket.events.closed(1001, "going away");
  assert.equal(setup.session.isClosed, false);
  assert.deepEqual(await setup.session.closed, { code: 1001, reason: "going away" });
  assert.equal(setup.log.length, 2 * maxTurnFrames + 4);
  assert.equal(setup.log.events[0], "end");
});

Deno.test("Inbox reads nothing more once its session has ended", async () => {
  using setup = new Setup();
  let reads = 0;
  setup.log.data = () => {
    if (++reads === 10) setup.session.close(1001, "enough");
  };
  setup.receive(bytes(10_000));
  assert.equal(reads, 10);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(reads, 10);
});
