/** Credit that a stream does not need goes back to its peer, which can grant it to others. */
import assert from "node:assert/strict";
import { Session } from "../../lib/protocol/session.ts";
import { agentSettings, ManualSocket, relaySettings, StreamLog } from "./session_setup.ts";
import { credit, frame, open, patterned, T } from "./wire.ts";

/** Frame type Return. */
const RETURN = 0x10;

/** An agent's session with one stream, a clock of its own, and a relay that is played by hand. */
class Setup implements Disposable {
  readonly socket = new ManualSocket();
  nowMs = 0;
  readonly session: Session;
  log!: StreamLog;

  constructor(returns = true) {
    this.session = new Session(this.socket, {
      role: "agent",
      settings: agentSettings,
      offersVersion2: true,
      nowMs: () => this.nowMs,
      // So that the session's timer comes often; what it does is decided by the clock above.
      pingIntervalMs: 30,
      idleTimeoutMs: 1e9,
      answerTimeoutMs: 1e9,
      events: {
        opened: (stream) => {
          this.log = new StreamLog(stream);
        },
      },
    });
    const { returns: _, ...others } = relaySettings;
    this.receive(frame(T.Settings, 0, JSON.stringify(returns ? relaySettings : others)));
    this.receive(open(1, "t:1"));
  }

  receive(message: Uint8Array): void {
    this.socket.events.message(message);
  }

  /** What the stream returns while the clock goes on by a second at a time. */
  async returned(seconds: number): Promise<number[]> {
    const frames: number[] = [];
    for (let second = 0; second < seconds; second++) {
      this.nowMs += 1_000;
      // Three rounds of its timer.
      await new Promise((resolve) => setTimeout(resolve, 40));
      for (const { type, stream, payload } of this.socket.takeFrames()) {
        if (type !== RETURN) continue;
        assert.equal(stream, 1);
        frames.push(new DataView(payload.buffer, payload.byteOffset).getUint32(0));
      }
    }
    return frames;
  }

  [Symbol.dispose](): void {
    this.session.close(1001, "The test is over");
  }
}

Deno.test("Stream that is idle returns all of its credit but the window that it began with", async () => {
  using setup = new Setup();
  setup.receive(credit(1, 1_000_000));
  const returned = await setup.returned(5);
  assert.deepEqual(returned, [1_000_000], "once");
  // It goes by what is left.
  setup.log.stream.write(patterned(relaySettings.window + 1));
  await Promise.resolve();
  const sent = setup.socket.takeFrames().filter(({ type }) => type === T.Data);
  assert.equal(sent.reduce((sum, { payload }) => sum + payload.length, 0), relaySettings.window);
});

Deno.test("Stream that sends keeps the credit that its rate needs", async () => {
  using setup = new Setup();
  setup.receive(credit(1, 16_000_000));
  await setup.returned(1);
  setup.receive(credit(1, 800_000));
  for (let second = 0; second < 5; second++) {
    setup.log.stream.write(patterned(500_000));
    setup.receive(credit(1, 500_000));
    assert.deepEqual(await setup.returned(1), []);
  }
});

Deno.test("Stream returns nothing to a peer that did not say that it takes that", async () => {
  using setup = new Setup(false);
  setup.receive(credit(1, 1_000_000));
  assert.deepEqual(await setup.returned(4), []);
});

Deno.test("Stream ends the session with a peer that returns more credit than it has", async () => {
  using setup = new Setup();
  setup.receive(frame(RETURN, 1, Uint8Array.of(0, 0, 0x80, 0)));
  assert.equal(setup.session.isClosed, false);
  setup.receive(frame(RETURN, 1, Uint8Array.of(0, 0, 0, 1)));
  assert.deepEqual(await setup.session.closed, {
    code: 1002,
    reason: "Stream 1 returned more credit than it had (Return frame on stream 1 of 4 bytes)",
  });
});
